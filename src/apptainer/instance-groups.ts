import { findInstanceProcesses } from "./instance-processes.js";
import type { ProcessIdentity } from "./process-identity.js";

const owned = new Map<string, ProcessIdentity>();

/** Kills the instance should this process exit first. */
export function endWithThisProcess(name: string, holder: ProcessIdentity): void {
  if (owned.size === 0) process.on("exit", killOwned);
  owned.set(name, holder);
}

/** It ends otherwise, or has ended. */
export function releaseInstance(name: string): void {
  if (owned.delete(name) && owned.size === 0) process.off("exit", killOwned);
}

/** Looked for now: on a busy machine some of them begin after the instance has answered. */
function killOwned(): void {
  // A second time for what the first of them has started meanwhile.
  for (let round = 0; round < 2; round += 1)
    for (const [name, holder] of owned)
      for (const pid of findInstanceProcesses(name, holder)) {
        try {
          process.kill(pid, "SIGKILL");
        } catch {
          // It ended meanwhile.
        }
      }
}
