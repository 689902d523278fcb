import { writeFileSync } from "node:fs";

/** Writes counts, and each skipped test with its reason, to the file in KITTY_KV_VITEST_REPORT. */
export default class CountingReporter {
  onTestRunEnd(modules, unhandledErrors) {
    const path = process.env.KITTY_KV_VITEST_REPORT;
    if (path === undefined) return;
    const report = { passed: 0, failed: unhandledErrors.length, skipped: [] };
    for (const module of modules) countModule(module, report);
    writeFileSync(path, JSON.stringify(report));
  }
}

function countModule(module, report) {
  let testCount = 0;
  for (const test of module.children.allTests()) {
    testCount += 1;
    const { state, note } = test.result();
    if (state === "passed") report.passed += 1;
    else if (state === "skipped")
      report.skipped.push({ name: `${module.relativeModuleId} ${test.fullName}`, reason: note ?? "no reason given" });
    else report.failed += 1;
  }
  // A file that cannot be loaded, or whose hooks fail, has no failed test of its own.
  if (module.state() === "failed" && (testCount === 0 || module.errors().length > 0)) report.failed += 1;
}
