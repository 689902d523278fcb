/** How Slurm's many states look from outside. */
export type SlurmPhase = "pending" | "running" | "ended";

/** How a job ended, as far as Slurm knows. */
export type SlurmEnd =
  "completed" | "failed" | "cancelled" | "time_limit" | "out_of_memory" | "node_failure" | "preempted" | "deadline";

export interface SlurmState {
  phase: SlurmPhase;
  end?: SlurmEnd;
  /** Slurm's own long name. */
  name: string;
}

const COMPACT: Readonly<Record<string, string>> = {
  ...{ PD: "PENDING", R: "RUNNING", CG: "COMPLETING", CF: "CONFIGURING", CD: "COMPLETED", F: "FAILED" },
  ...{ CA: "CANCELLED", TO: "TIMEOUT", OOM: "OUT_OF_MEMORY", NF: "NODE_FAIL", PR: "PREEMPTED", DL: "DEADLINE" },
  ...{ BF: "BOOT_FAIL", S: "SUSPENDED", ST: "STOPPED", RQ: "REQUEUED", RH: "REQUEUE_HOLD", RF: "REQUEUE_FED" },
  ...{ RS: "RESIZING", RV: "REVOKED", SI: "SIGNALING", SE: "SPECIAL_EXIT", SO: "STAGE_OUT", RD: "RESV_DEL_HOLD" },
};

const ENDS: Readonly<Record<string, SlurmEnd>> = {
  ...{ COMPLETED: "completed", FAILED: "failed", CANCELLED: "cancelled", REVOKED: "cancelled", TIMEOUT: "time_limit" },
  ...{ OUT_OF_MEMORY: "out_of_memory", NODE_FAIL: "node_failure", BOOT_FAIL: "node_failure", PREEMPTED: "preempted" },
  ...{ DEADLINE: "deadline", LAUNCH_FAILED: "node_failure" },
};

const PENDING = new Set(["PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT"]);

/**
 * Reads a state as squeue and sacct write it: long or compact, "CANCELLED by 1000", "COMPLETED+" (cut off), or several
 * flags with commas, as newer versions have it.
 */
export function parseState(text: string): SlurmState {
  const names = text
    .trim()
    .toUpperCase()
    .replace(/ BY .*$/, "")
    .split(/[,|]/)
    .map((part) => toLongName(part.trim()));
  // A job that is completing still holds its nodes, but some states say already how it ended.
  const name = names.find((part) => PENDING.has(part)) ?? names.find((part) => part !== "COMPLETING") ?? "COMPLETING";
  if (PENDING.has(name)) return { phase: "pending", name };
  const end = ENDS[name];
  return end === undefined ? { phase: "running", name } : { phase: "ended", end, name };
}

/** "COMPLETED+" and "CANCELLED+" are what is left of a name in a column that is too narrow. */
function toLongName(name: string): string {
  const known = COMPACT[name] ?? name;
  if (!known.endsWith("+")) return known;
  const start = known.slice(0, -1);
  return [...Object.keys(ENDS), ...PENDING].find((long) => long.startsWith(start)) ?? start;
}
