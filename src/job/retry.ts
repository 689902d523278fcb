import type { JobSpec } from "./job-spec.js";

/** No wait for another attempt is longer, so a longer one comes from a clock that was set back. */
export const MAX_BACKOFF_MS = 3_600_000;
/** So often an orchestrator may die under a job before the job is taken for the reason. */
export const MAX_LOST_ATTEMPTS = 50;

/** Mistakes that another attempt would only make again. */
const PERMANENT_CODES = new Set([
  "invalid_argument",
  "usage",
  "unknown_preset",
  "unknown_task",
  "unknown_metric",
  "context_exceeded",
  "other_results",
  "missing_harness",
  "missing_package",
  "unsafe_code",
  "bad_task",
  "model_not_found",
  "not_a_model",
  "not_found",
  "unsupported",
  "empty_prompt",
  "prompts_file",
  "prompts_changed",
  "python_not_found",
  "dependency_failed",
  "children_failed",
  "slurm_refused",
  "slurm_not_found",
  "apptainer_not_configured",
  "shared_folder",
  "not_on_nodes",
  "out_of_memory",
  "preempted",
  "node_failure",
  "lost_too_often",
]);

/**
 * How long to wait before the next attempt of a job that failed.
 * @param failedAttempts how many attempts failed so far, lost ones not counted
 * @returns undefined when there is none: all were used, or the mistake is a permanent one
 */
export function retryDelayMs(retry: JobSpec["retry"], failedAttempts: number, errorCode: string): number | undefined {
  if (failedAttempts >= retry.maxAttempts || PERMANENT_CODES.has(errorCode)) return undefined;
  return Math.min(retry.backoffMs * 2 ** (failedAttempts - 1), MAX_BACKOFF_MS);
}
