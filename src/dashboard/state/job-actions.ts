import type { Job, JobSummary } from "../../server/wire/jobs.js";
import { call, messageOf } from "../api/client.js";
import { hasEnded } from "../model/job-table.js";
import { remember } from "./live.js";
import { say } from "./toasts.js";

export type JobAction = "cancel" | "retry";

const AT_ONCE = 8;
const DONE: Readonly<Record<JobAction, string>> = { cancel: "cancelled", retry: "queued again" };

export function canCancel({ state, isCancelRequested }: JobSummary): boolean {
  return !hasEnded(state) && !isCancelRequested;
}

export function canRetry({ state }: JobSummary): boolean {
  return hasEnded(state) && state !== "succeeded";
}

/** Does the same with many jobs, some at a time, and says how it went. */
export async function actOnJobs(action: JobAction, ids: readonly string[]): Promise<void> {
  const waiting = [...ids];
  const errors: string[] = [];
  const work = async (): Promise<void> => {
    for (let id = waiting.shift(); id !== undefined; id = waiting.shift()) {
      try {
        remember(await call<Job>(`/api/jobs/${encodeURIComponent(id)}/${action}`, { method: "POST" }));
      } catch (error) {
        errors.push(messageOf(error));
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  const done = ids.length - errors.length;
  if (done > 0) say(done === 1 ? `One job is ${DONE[action]}.` : `${String(done)} jobs are ${DONE[action]}.`);
  const [first] = errors;
  if (first !== undefined)
    say(errors.length === 1 ? first : `${String(errors.length)} did not: ${first}`, { isError: true });
}
