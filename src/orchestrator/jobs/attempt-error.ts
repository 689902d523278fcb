import { KittyError } from "../../errors.js";
import type { JobError } from "../../job/job.js";

/** Why an attempt's signal fired. */
export type StopReason = "cancel" | "time_out" | "shutdown";

export function toJobError(error: unknown): JobError {
  if (error instanceof KittyError) return { code: error.code, message: error.message, details: error.details };
  const found = error instanceof Error ? error.message : String(error);
  const message = `Cannot finish this job: ${found}, which is a defect of kitty-kv; report it with the job's log`;
  return { code: "internal", message, details: {} };
}

export function stopError(id: string, reason: "cancel" | "time_out", timeLimitMinutes: number | undefined): JobError {
  if (reason === "cancel") return { code: "cancelled", message: `Job ${id} was cancelled`, details: {} };
  return {
    code: "time_limit",
    message: `Cannot finish job ${id}: it ran longer than ${String(timeLimitMinutes)} minutes, set resources.timeLimitMinutes higher and submit it again`,
    details: { timeLimitMinutes },
  };
}
