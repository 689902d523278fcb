import { accessSync, constants } from "node:fs";
import { join } from "node:path";
import { NotFoundError } from "../errors.js";

/**
 * The Python that runs workers: the option, else KITTY_KV_PYTHON, else the package's own .venv.
 * A system Python is never taken: it rarely has the packages, and the failure would come late.
 * @throws NotFoundError `python_not_found` when that file cannot be executed
 */
export function findPython(python: string | null, packageFolder: string): string {
  const fromEnvironment = process.env["KITTY_KV_PYTHON"];
  if (python !== null) return checkPython(python, "the option worker.python");
  if (fromEnvironment !== undefined && fromEnvironment !== "") return checkPython(fromEnvironment, "KITTY_KV_PYTHON");
  return checkPython(join(packageFolder, ".venv", "bin", "python"), "the package's own environment");
}

function checkPython(file: string, source: string): string {
  // A bare name is looked up in PATH when it is started.
  if (!file.includes("/")) return file;
  try {
    accessSync(file, constants.X_OK);
    return file;
  } catch (cause) {
    throw new NotFoundError(
      `Cannot start a worker: no Python at ${JSON.stringify(file)} (from ${source}), run "npm start" once or set KITTY_KV_PYTHON`,
      { code: "python_not_found", details: { path: file, source }, cause },
    );
  }
}
