import { existsSync } from "node:fs";
import { join } from "node:path";
import { venvPython } from "../setup/steps.mjs";
import { readPytestReport, readVitestReport } from "./read-reports.mjs";

const HARNESS_TESTS = "test/python/eval/harness";

/** What the gate runs, in order; a step with readReport is a test suite. */
export function gateSteps(root, reports) {
  const node = (file, ...args) => [process.execPath, join(root, file), ...args];
  const tsc = (...args) => node("node_modules/typescript/bin/tsc", "--noEmit", ...args);
  const python = (...args) => [venvPython(root), "-m", ...args];
  const vitestReport = join(reports, "vitest.json");
  return [
    {
      name: "prettier",
      command: node("node_modules/prettier/bin/prettier.cjs", "--check", "--log-level", "warn", "."),
    },
    { name: "eslint", command: node("node_modules/eslint/bin/eslint.js", ".") },
    { name: "types", command: tsc() },
    // What runs in a browser is checked apart from what runs in Node.
    { name: "types of the page", command: tsc("-p", "src/dashboard") },
    { name: "types of its tests", command: tsc("-p", "test/e2e/dashboard") },
    { name: "layers", command: node("scripts/check-layers.mjs") },
    { name: "ruff check", command: python("ruff", "check", "--quiet", ".") },
    { name: "ruff format", command: python("ruff", "format", "--check", "--quiet", ".") },
    {
      name: "vitest",
      command: node(
        "node_modules/vitest/vitest.mjs",
        "run",
        "--reporter=default",
        "--reporter=./scripts/test/vitest-reporter.mjs",
      ),
      env: { KITTY_KV_VITEST_REPORT: vitestReport },
      readReport: () => readVitestReport(vitestReport),
    },
    ...pytestSteps(root, reports),
  ];
}

/** Where the harness is (install-lm-eval.sh), its tests run with its Python; elsewhere they are skipped by name. */
function pytestSteps(root, reports) {
  const harness = join(root, ".setup", "lm-eval", "bin", "python");
  const suite = (name, python, ...args) => {
    const report = join(reports, `${name.replace(/\W+/g, "-")}.xml`);
    const command = [python, "-m", "pytest", "-q", `--junitxml=${report}`, ...args];
    return { name, command, readReport: () => readPytestReport(report) };
  };
  if (!existsSync(harness)) return [suite("pytest", venvPython(root))];
  return [
    suite("pytest", venvPython(root), `--ignore=${HARNESS_TESTS}`),
    suite("pytest, lm-eval", harness, HARNESS_TESTS),
  ];
}
