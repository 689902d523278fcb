/** A job's life: `queued → starting → running` and one of the four ends; a lost attempt goes back to `queued`. */
export const JOB_STATES = ["queued", "starting", "running", "succeeded", "failed", "cancelled", "timed_out"] as const;
export type JobState = (typeof JOB_STATES)[number];

/** What happens to a job. `requeue` ends an attempt that is tried again, `retry` revives a job that has ended. */
export type JobAction = "claim" | "begin" | "succeed" | "fail" | "cancel" | "time_out" | "requeue" | "retry";

const TRANSITIONS: Readonly<Record<JobState, Partial<Record<JobAction, JobState>>>> = {
  // A job whose dependency failed fails without an attempt.
  queued: { claim: "starting", cancel: "cancelled", fail: "failed" },
  starting: { begin: "running", cancel: "cancelled", fail: "failed", time_out: "timed_out", requeue: "queued" },
  running: {
    succeed: "succeeded",
    cancel: "cancelled",
    fail: "failed",
    time_out: "timed_out",
    requeue: "queued",
  },
  succeeded: {},
  failed: { retry: "queued" },
  cancelled: { retry: "queued" },
  timed_out: { retry: "queued" },
};

/**
 * The state after an action.
 * @returns undefined when the action is not possible in this state
 */
export function nextState(state: JobState, action: JobAction): JobState | undefined {
  return TRANSITIONS[state][action];
}

/** Whether nothing more happens to the job unless somebody retries it. */
export function isTerminal(state: JobState): boolean {
  return nextState(state, "cancel") === undefined;
}
