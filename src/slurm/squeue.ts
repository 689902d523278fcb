import { parseExitCode, type SlurmExit } from "./exit-code.js";
import { parseState, type SlurmState } from "./job-state.js";
import { pendingReason, type PendingReason } from "./pending-reason.js";
import { formatOf, orNull, parseRecords, parseTime } from "./records.js";
import { runSlurm, type SlurmOptions } from "./run-slurm.js";

const FIELDS = [
  ...["JobID", "ArrayJobID", "ArrayTaskID", "State", "Reason", "exit_code", "StartTime", "SubmitTime", "NodeList"],
  ...["Name", "Comment"],
];

/** A job, or a task of an array, as squeue or sacct tells of it. */
export interface KnownJob {
  /** `11` or, of an array, `11_2`. */
  id: string;
  /** The same without the task: what sbatch answered. */
  jobId: string;
  state: SlurmState;
  /** Why it waits; null when it does not. */
  reason: PendingReason | null;
  /** Slurm waits or has waited in vain for a job that this one needs. */
  isUnmet: boolean;
  exit: SlurmExit | undefined;
  /** When it started or, as long as it waits, is expected to. */
  start: Date | undefined;
  submitted: Date | undefined;
  nodes: string | null;
  name: string;
  comment: string | null;
}

/** All jobs of a user that the controller still knows, those that ended lately included: one call, whatever their number. */
export async function squeue(user: string, purpose: string, options?: SlurmOptions): Promise<KnownJob[]> {
  const args = ["--user", user, "--states=all", "--array", "--noheader", "--Format", formatOf(FIELDS)];
  return parseQueue((await runSlurm("squeue", args, purpose, options)).stdout);
}

/** What `squeue --Format` wrote with our fields. */
export function parseQueue(text: string): KnownJob[] {
  return parseRecords(text, FIELDS.length).map((fields) => {
    const [own = "", array = "", task = "", state = "", reason = "", exit = "", ...rest] = fields;
    const [start = "", submitted = "", nodes = "", name = "", comment = ""] = rest;
    const parsed = parseState(state);
    const jobId = /^\d+$/.test(array) ? array : own;
    return {
      ...{ id: /^\d+$/.test(task) ? `${jobId}_${task}` : jobId, jobId, state: parsed, name },
      reason: parsed.phase === "pending" ? pendingReason(reason) : null,
      // It stays with a job that was ended for it.
      isUnmet: parsed.phase !== "running" && reason === "DependencyNeverSatisfied",
      ...{ exit: parseExitCode(exit), start: parseTime(start), submitted: parseTime(submitted) },
      ...{ nodes: orNull(nodes), comment: orNull(comment) },
    };
  });
}
