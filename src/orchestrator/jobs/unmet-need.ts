import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { readNeeds, readOutcome, type Need, type Outcome, type TaskFile } from "../../runner/slurm-files.js";
import { unmetError } from "../../runner/slurm-places.js";

// A shared file system shows a file that another machine wrote after up to a minute.
const DELAY_MS = 60_000;
const LOOK_MS = 1000;
const WORDS = { succeeded: "succeeded", failed: "failed", timed_out: "ran out of time" } as const;

/**
 * Makes sure on the node that what a task needs has succeeded. Slurm starts a task too whose dependency it has forgotten,
 * however that ended.
 * @returns the outcome of a task that must not run now
 */
export async function unmetNeed(task: TaskFile, folder: string, signal: AbortSignal): Promise<Outcome | undefined> {
  const end = performance.now() + DELAY_MS;
  for (const need of readNeeds(task.folder, task.index)) {
    const jobFolder = join(dirname(folder), need.job);
    let outcome = readOutcome(jobFolder, need);
    while (outcome === undefined && performance.now() < end && !signal.aborted) {
      await sleep(LOOK_MS);
      outcome = readOutcome(jobFolder, need);
    }
    if (outcome?.kind !== "succeeded") return unmet(task, need, outcome);
  }
  return undefined;
}

function unmet({ job: { id } }: TaskFile, { job }: Need, outcome: Outcome | undefined): Outcome {
  const error = unmetError(id, `job ${job} ${outcome === undefined ? "left no result" : WORDS[outcome.kind]}`);
  return { kind: "failed", error: { ...error.toJSON(), details: { dependency: job } } };
}
