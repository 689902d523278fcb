import { existsSync } from "node:fs";
import { join } from "node:path";
import { findPython } from "../../src/runner/find-python.js";
import { packageRoot } from "../../src/runner/package-root.js";

/** A model folder to test with in place of the bundled one; null is the bundled one. */
export const TEST_MODEL = process.env["KITTY_KV_TEST_MODEL"] ?? null;

/** Why tests with the real Python worker cannot run here, or undefined when they can. */
export function whyNoRealWorker(): string | undefined {
  try {
    findPython(null, packageRoot());
  } catch (error) {
    return (error as Error).message;
  }
  const worker = join(packageRoot(), "python", "kitty_kv", "worker", "__main__.py");
  if (!existsSync(worker)) return `there is no ${worker}`;
  const model = TEST_MODEL ?? join(packageRoot(), "python", "kitty_kv", "tiny", "model");
  return existsSync(join(model, "model.safetensors")) ? undefined : `there is no model in ${model}`;
}
