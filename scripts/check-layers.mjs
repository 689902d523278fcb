import { existsSync } from "node:fs";
import { checkPython } from "./layers/check-python.mjs";
import { checkTypeScript } from "./layers/check-typescript.mjs";
import { ROOT } from "./setup.mjs";
import { venvPython } from "./setup/steps.mjs";

// Any Python reads the imports; the test of this script brings its own folder.
const root = process.argv[2] ?? ROOT;
const python = existsSync(venvPython(ROOT)) ? venvPython(ROOT) : "python3";

const problems = [...checkTypeScript(root), ...checkPython(root, python)];
for (const problem of problems) console.error(problem);
if (problems.length > 0) {
  console.error(
    `${problems.length} imports point the wrong way; the allowed directions are in scripts/layers/rules.mjs`,
  );
  process.exitCode = 1;
}
