import { abortable } from "../../bridge/abortable.js";
import type { KittyEvent } from "../../job/event.js";
import { isTerminal, type JobState } from "../../job/job-state.js";
import type { JobService } from "../../job/job-service.js";
import type { Job } from "../../job/job.js";
import { deferred } from "../../util/deferred.js";

/** Resolves with a job once it has ended, by the events of its service, here or on a server. */
export async function waitForEnd(
  service: Pick<JobService, "events" | "get">,
  id: string,
  signal: AbortSignal | undefined,
): Promise<Job> {
  const attempt = `wait for job ${id}`;
  // The number first: what ends between the two calls is among the events.
  const since = await abortable(service.events.latest(), signal, attempt);
  const job = await abortable(service.get(id), signal, attempt);
  if (isTerminal(job.state)) return job;
  const ended = deferred<undefined>();
  const onError = (error: unknown): void => {
    ended.reject(error as Error);
  };
  const onEvent = ({ type, data }: KittyEvent): void => {
    if (type === "job.state" && isTerminal(data["state"] as JobState)) ended.resolve(undefined);
    // It stands for events that are not kept any more, the job's end perhaps among them.
    if (type !== "snapshot") return;
    service.get(id).then((seen) => {
      if (isTerminal(seen.state)) ended.resolve(undefined);
    }, onError);
  };
  const stop = service.events.subscribe(since, onEvent, { id, onError });
  try {
    await abortable(ended.promise, signal, attempt);
  } finally {
    stop();
  }
  return await service.get(id);
}
