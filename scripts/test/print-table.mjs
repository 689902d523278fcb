/** The steps with their times, then what was skipped and why. */
export function printTable(results) {
  const width = Math.max(...results.map(({ name }) => name.length));
  console.log("");
  for (const { name, isOk, isSuite, durationMs, passed, failed, skipped } of results) {
    const counts = isSuite ? `  ${passed} passed, ${failed} failed, ${skipped.length} skipped` : "";
    console.log(
      `${isOk ? "ok    " : "FAILED"}  ${name.padEnd(width)}  ${`${(durationMs / 1000).toFixed(1)} s`.padStart(8)}${counts}`,
    );
  }
  const skips = new Map();
  for (const { name, reason } of results.flatMap(({ skipped }) => skipped))
    skips.set(reason, [...(skips.get(reason) ?? []), name]);
  for (const [reason, names] of skips)
    console.log(`\nSkipped, ${reason}:\n${names.map((name) => `  ${name}`).join("\n")}`);
  console.log("");
}

/** `N passed, N failed, N skipped`: tests of all suites; a check that failed counts as one failure. */
export function closingLine(results) {
  const sum = (value) => results.reduce((total, result) => total + value(result), 0);
  const failed = sum((result) => Math.max(result.failed, result.isOk ? 0 : 1));
  return `${sum(({ passed }) => passed)} passed, ${failed} failed, ${sum(({ skipped }) => skipped.length)} skipped`;
}
