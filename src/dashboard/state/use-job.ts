import { useCallback } from "preact/hooks";
import type { Event } from "../../server/wire/events.js";
import type { Job } from "../../server/wire/jobs.js";
import { call } from "../api/client.js";
import { watchTable } from "./live.js";
import { usePolled, type Polled } from "./use-polled.js";

export interface JobWithEvents {
  job: Job;
  events: readonly Event[];
}

/** One job with its result and its past; asked for anew whenever its state changes, and fresh in between. */
export function useJob(id: string): Polled<JobWithEvents> {
  const live = watchTable().get(id);
  const key = live === undefined ? "" : `${live.state}${String(live.attempt)}${live.finishedAt ?? ""}`;
  const read = useCallback(
    async (signal: AbortSignal) => {
      const path = `/api/jobs/${encodeURIComponent(id)}`;
      const [job, { events }] = await Promise.all([
        call<Job>(path, { signal }),
        call<{ events: Event[] }>(`${path}/events`, { signal }),
      ]);
      return { job, events };
    },
    [id, key],
  );
  const polled = usePolled(read);
  if (polled.data === undefined || live === undefined) return polled;
  return { ...polled, data: { ...polled.data, job: { ...polled.data.job, ...live } } };
}
