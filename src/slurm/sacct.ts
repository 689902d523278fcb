import { parseExitCode } from "./exit-code.js";
import { parseState } from "./job-state.js";
import { orNull, parseTime, formatTime, SEPARATOR } from "./records.js";
import { runSlurm, type SlurmOptions } from "./run-slurm.js";
import type { KnownJob } from "./squeue.js";

const FIELDS = ["JobID", "State", "ExitCode", "Start", "Submit", "NodeList", "JobName", "End"];

/**
 * What accounting knows of jobs, by the numbers that sbatch answered: one call for all of them.
 * @param since no job is older; without it sacct would show those of today only
 * @throws SlurmError `slurm_accounting_off`, `slurm_unreachable`
 */
export async function sacct(
  jobIds: readonly string[],
  since: Date,
  purpose: string,
  options?: SlurmOptions,
): Promise<KnownJob[]> {
  const args = ["--noheader", "--parsable2", `--delimiter=${SEPARATOR}`, "--allocations", "--duplicates"];
  const filter = [`--starttime=${formatTime(since)}`, `--jobs=${jobIds.join(",")}`];
  const { stdout } = await runSlurm("sacct", [...args, `--format=${FIELDS.join(",")}`, ...filter], purpose, options);
  return parseAccounting(stdout);
}

/** What `sacct --parsable2` wrote with our fields; of a job that was requeued only its latest run. */
export function parseAccounting(text: string): KnownJob[] {
  const latest = new Map<string, Run>();
  for (const line of text.split("\n")) {
    const fields = line.split(SEPARATOR);
    const [id = "", state = "", exit = "", start = "", submitted = "", nodes = "", name = "", end = ""] = fields;
    // Steps are `11.batch`; ranges of tasks that still wait are `11_[3-5]`.
    if (fields.length !== FIELDS.length || !/^\d+(_\d+)?$/.test(id)) continue;
    const job: KnownJob = {
      ...{
        id,
        jobId: id.split("_")[0] ?? id,
        state: parseState(state),
        reason: null,
        isUnmet: false,
        name,
        comment: null,
      },
      ...{ exit: parseExitCode(exit), start: parseTime(start), submitted: parseTime(submitted), nodes: orNull(nodes) },
    };
    const run = { job, ended: parseTime(end) };
    const known = latest.get(id);
    if (known === undefined || isLater(run, known)) latest.set(id, run);
  }
  return [...latest.values()].map(({ job }) => job);
}

interface Run {
  job: KnownJob;
  ended: Date | undefined;
}

/** Each requeue is a submission of its own; one that has not ended is the latest. */
function isLater(run: Run, known: Run): boolean {
  const submitted = (run.job.submitted?.getTime() ?? 0) - (known.job.submitted?.getTime() ?? 0);
  if (submitted !== 0) return submitted > 0;
  return (run.ended?.getTime() ?? Infinity) >= (known.ended?.getTime() ?? Infinity);
}
