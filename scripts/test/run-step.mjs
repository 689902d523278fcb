import { spawn } from "node:child_process";

const NO_COUNTS = { passed: 0, failed: 0, skipped: [] };

/** Runs one step of the gate with its output shown, and counts its tests where it is a suite. */
export async function runStep({ name, command, env: extra = {}, readReport }, { root, env }) {
  const startedAt = performance.now();
  const [file, ...args] = command;
  const exitCode = await new Promise((resolve) => {
    const child = spawn(file, args, { cwd: root, env: { ...env, ...extra }, stdio: ["ignore", "inherit", "inherit"] });
    child.once("error", (error) => {
      console.error(`Cannot start ${file}: ${error.message}`);
      resolve(127);
    });
    child.once("close", (code) => resolve(code ?? 1));
  });
  const counts = readReport === undefined ? NO_COUNTS : readCounts(readReport);
  const isOk = exitCode === 0 && counts.failed === 0;
  return { name, isSuite: readReport !== undefined, isOk, durationMs: performance.now() - startedAt, ...counts };
}

/** A suite that left no report did not run to its end. */
function readCounts(readReport) {
  try {
    return readReport();
  } catch (error) {
    console.error(`Cannot read what the suite reported: ${error.message}`);
    return { ...NO_COUNTS, failed: 1 };
  }
}
