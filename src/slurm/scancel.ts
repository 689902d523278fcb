import { runSlurm, SlurmError, type SlurmOptions } from "./run-slurm.js";

// A command line has a limited length.
const AT_ONCE = 500;

/** Ends jobs and tasks of arrays; those that have ended already are no error. */
export async function scancel(ids: readonly string[], options?: SlurmOptions): Promise<void> {
  for (let index = 0; index < ids.length; index += AT_ONCE) {
    const part = ids.slice(index, index + AT_ONCE);
    try {
      await runSlurm("scancel", part, `cancel ${String(part.length)} jobs`, options);
    } catch (error) {
      if (!(error instanceof SlurmError) || error.kind !== "no_such_job") throw error;
    }
  }
}
