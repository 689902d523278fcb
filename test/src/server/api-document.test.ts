import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "../../..");

test("docs/api.md is what the schemas say", async () => {
  const args = [join(root, "node_modules/tsx/dist/cli.mjs"), "scripts/api-document.ts", "--check"];
  await expect(promisify(execFile)(process.execPath, args, { cwd: root })).resolves.toMatchObject({ stderr: "" });
});
