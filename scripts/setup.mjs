import { realpathSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { SetupError } from "./setup/setup-error.mjs";
import { setUp } from "./setup/set-up.mjs";

/** The checkout this script stands in. */
export const ROOT = fileURLToPath(new URL("..", import.meta.url)).replace(/\/$/, "");

/** Sets up the checkout, or says what is in the way and ends the process with exit code 1. */
export async function setUpOrExit(root = ROOT) {
  try {
    return await setUp(root);
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    process.stderr.write(`${error.report()}\n`);
    process.exit(error.exitCode);
  }
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  await setUpOrExit(process.argv[2] ?? ROOT);
}
