import { readFileSync } from "node:fs";

/** Whether a process runs; one that only waits to be reaped does not. */
export function isAlive(pid: number | undefined): boolean {
  if (pid === undefined) return false;
  try {
    process.kill(pid, 0);
    return process.platform !== "linux" || !/\) [ZX] /.test(readFileSync(`/proc/${String(pid)}/stat`, "utf8"));
  } catch {
    // ESRCH or ENOENT: there is no such process.
    return false;
  }
}
