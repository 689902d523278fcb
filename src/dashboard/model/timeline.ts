import type { Event } from "../../server/wire/events.js";
import type { JobState } from "../../server/wire/jobs.js";
import { hasEnded } from "./job-table.js";

/** A time that a job spent in one state. */
export interface Stretch {
  state: JobState;
  attempt: number;
  from: number;
  /** null while it lasts, and for the state that it ended in. */
  to: number | null;
  error: string | undefined;
}

/** What a job's events say of its life, the oldest first. */
export function readTimeline(events: readonly Event[]): Stretch[] {
  const stretches: Stretch[] = [];
  for (const { type, time, data } of events) {
    if (type !== "job.state") continue;
    const from = Date.parse(time);
    const before = stretches.at(-1);
    if (before?.to === null) before.to = from;
    const error = (data["error"] as { message?: string } | undefined)?.message;
    stretches.push({ state: data["state"] as JobState, attempt: Number(data["attempt"] ?? 0), from, to: null, error });
  }
  return stretches;
}

/** How much of the whole each stretch took; an end takes none, and what goes on lasts until now. */
export function shares(stretches: readonly Stretch[], now: number): number[] {
  const lengths = stretches.map(({ state, from, to }) => (to ?? (hasEnded(state) ? from : Math.max(now, from))) - from);
  const whole = lengths.reduce((sum, length) => sum + length, 0);
  return lengths.map((length) => (whole > 0 ? length / whole : 0));
}
