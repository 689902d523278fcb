import { CancelledError } from "../../errors.js";
import type { SlurmTasks } from "../../runner/slurm-tasks.js";
import type { JobExecutor } from "./executor.js";

/** Any kind of job but a sweep: a task in Slurm, which runs the kind's own executor on a node; see `runSlurmTask`. */
export function slurmExecutor(tasks: SlurmTasks): JobExecutor {
  return async ({ job, folder, signal, openDependencies, begin, log, progress }) => {
    const isCancelled = (): boolean =>
      signal.reason instanceof CancelledError && signal.reason.details["reason"] !== "shutdown";
    const { figures, files } = await tasks.run({
      ...{ job, folder: folder.path, signal, isCancelled, openDependencies, begin, log, progress },
    });
    return { figures, files };
  };
}
