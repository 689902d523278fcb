import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { taskFile, type Outcome, type TaskFile } from "../../runner/slurm-files.js";

export interface Starts {
  /** This start is the so-manieth of the submission. */
  number: number;
  /** Why it must not run once more. */
  refusal?: Outcome;
  /** Notes that this run ended because its time was over. */
  interrupt: () => void;
}

/**
 * Notes that a task begins. Slurm itself starts a job anew after preemption, a node's death or a requeue; a job that this
 * happens to again and again ends when it has had all its attempts.
 */
export function countStart(folder: string, { batch, job }: TaskFile): Starts {
  const path = taskFile(folder, "starts");
  const note = (what: string): void => {
    try {
      appendFileSync(path, `${batch} ${what}\n`, { mode: 0o600 });
    } catch {
      // A folder that cannot be written now is no reason not to begin; such a start is not counted.
    }
  };
  note("start");
  const lines = existsSync(path) ? readFileSync(path, "utf8").split("\n") : [];
  const count = (what: string): number => lines.filter((line) => line === `${batch} ${what}`).length;
  const number = count("start");
  const interrupt = (): void => {
    note("interrupted");
  };
  const { maxAttempts } = job.spec.retry;
  if (number <= maxAttempts) return { number, interrupt };
  return { number, interrupt, refusal: refusalOf(job.id, maxAttempts, count("interrupted") > 0) };
}

function refusalOf(id: string, maxAttempts: number, isTime: boolean): Outcome {
  const often = `${String(maxAttempts)} times`;
  const message = isTime
    ? `Cannot finish job ${id}: its time was over ${often}; set resources.timeLimitMinutes or retry.maxAttempts higher, then "kitty-kv job retry" goes on with what it has`
    : `Cannot finish job ${id}: Slurm began it ${often} and took it away again (preemption, nodes that died); set retry.maxAttempts higher`;
  return {
    kind: isTime ? "timed_out" : "failed",
    error: { code: isTime ? "time_limit" : "lost_too_often", message, details: { maxAttempts } },
  };
}
