import { readFileSync } from "node:fs";
import { join } from "node:path";
import { KittyError } from "../errors.js";
import type { Job } from "../job/job.js";
import type { TaskEnd } from "./followed-task.js";
import type { Outcome } from "./slurm-files.js";
import { SIGHT_REMEDY } from "./node-sight.js";
import { unmetError } from "./slurm-places.js";

/** Of a task that left no outcome. */
export type Gone = Extract<TaskEnd, { kind: "gone" }>;

/** Whether that is no fault of the job, so that it is submitted again. */
export function isLost(how: Gone["how"]): boolean {
  return ["node_failure", "preempted", "time_limit", "vanished", "shared_folder"].includes(how);
}

const REMEDIES: Readonly<Record<Exclude<Gone["how"], "unmet">, readonly [code: string, remedy: string]>> = {
  completed: ["slurm_no_result", "see whether compute nodes can write to slurm.folder, and what the job printed"],
  failed: ["slurm_job_failed", "see what the job printed"],
  cancelled: ["slurm_cancelled", 'if it was not you, ask the site; "kitty-kv job retry" submits it again'],
  time_limit: [
    "time_limit",
    "set resources.timeLimitMinutes higher, or retry.maxAttempts so that it goes on more often",
  ],
  out_of_memory: ["out_of_memory", "set resources.memoryMiB higher"],
  node_failure: ["node_failure", "nodes died under it; retry it once the cluster is well"],
  preempted: [
    "preempted",
    "jobs with a higher priority took its place; set retry.maxAttempts higher, or ask for another partition or QoS",
  ],
  deadline: ["time_limit", "its deadline passed"],
  not_on_nodes: ["not_on_nodes", SIGHT_REMEDY],
  vanished: ["slurm_job_lost", "see whether compute nodes can write to slurm.folder"],
  shared_folder: ["shared_folder", "see whether slurm.folder is full, read-only or away on compute nodes"],
  hopeless: ["slurm_refused", "change what it asks for; it was taken out of the queue"],
};

/** Why a job of Slurm's left no result, with what to do. */
export function goneError({ id, spec }: Job, { how, found }: Gone, lost: number): KittyError {
  if (how === "unmet") return unmetError(id, found);
  const [code, remedy] = REMEDIES[how];
  const often = isLost(how) && lost > 1 ? `, ${String(lost)} times` : "";
  return new KittyError(`Cannot finish job ${id}: ${found}${often}; ${remedy}`, {
    code,
    details: { how, attempts: lost, timeLimitMinutes: spec.resources.timeLimitMinutes ?? null },
  });
}

/** Why a task did not succeed, as it says itself. */
export function outcomeError({ kind, ...rest }: Outcome): KittyError {
  if (!("error" in rest)) throw new RangeError(`Cannot fail with an outcome that is ${kind}`);
  const { code, message, details } = rest.error;
  return new KittyError(message, { code: kind === "timed_out" ? "time_limit" : code, details });
}

/** The last lines that a task printed besides its log. */
export function outputTail(batchFolder: string, index: number, isArray: boolean): string[] {
  try {
    const text = readFileSync(join(batchFolder, isArray ? `out-${String(index)}.txt` : "out.txt"), "utf8");
    return text.trimEnd().split("\n").slice(-10);
  } catch {
    // Where there is none, it could not start at all, which its exit says.
    return [];
  }
}
