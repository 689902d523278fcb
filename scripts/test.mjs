import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ROOT, setUpOrExit } from "./setup.mjs";
import { venvPython } from "./setup/steps.mjs";
import { installWhatTestsUse } from "./test/install-what-tests-use.mjs";
import { closingLine, printTable } from "./test/print-table.mjs";
import { runStep } from "./test/run-step.mjs";
import { gateSteps } from "./test/steps.mjs";

await setUpOrExit();
installWhatTestsUse(ROOT);

const reports = join(ROOT, ".setup", "reports");
rmSync(reports, { recursive: true, force: true });
mkdirSync(reports, { recursive: true });

// KITTY_KV_PYTHON names what .venv was made from; what is tested is .venv.
const env = { ...process.env, KITTY_KV_PYTHON: venvPython(ROOT) };
const results = [];
for (const step of gateSteps(ROOT, reports)) {
  console.log(`\n── ${step.name}`);
  results.push(await runStep(step, { root: ROOT, env }));
}
printTable(results);
console.log(closingLine(results));
process.exitCode = results.every(({ isOk }) => isOk) ? 0 : 1;
