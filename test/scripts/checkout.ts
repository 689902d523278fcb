import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";

const ROOT = join(import.meta.dirname, "../..");

/** Enough of a checkout for the first two Python steps of set-up, with a lock file of its own. */
export async function makeCheckout(folder: string, lock: string): Promise<void> {
  await cp(join(ROOT, "scripts"), join(folder, "scripts"), { recursive: true });
  await mkdir(join(folder, "python"));
  await writeLock(folder, lock);
}

export async function writeLock(folder: string, lock: string): Promise<void> {
  await writeFile(join(folder, "python/requirements.lock"), lock);
}

const PROGRAM = `
  const { setUp } = await import("./scripts/setup/set-up.mjs");
  const { PYTHON_STEPS } = await import("./scripts/setup/steps.mjs");
  const { SetupError } = await import("./scripts/setup/setup-error.mjs");
  try {
    console.log(JSON.stringify(await setUp(process.cwd(), { steps: PYTHON_STEPS.slice(0, 2) })));
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    console.error(error.report());
    process.exitCode = error.exitCode;
  }`;

/** Runs the first two Python steps: make .venv, install what the lock file names. */
export function startSetUp(root: string, env: Record<string, string> = {}) {
  return execa(process.execPath, ["--input-type=module", "-e", PROGRAM], {
    cwd: root,
    env: { KITTY_KV_PYTHON: "", ...env },
    reject: false,
  });
}
