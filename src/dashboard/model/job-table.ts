import type { Event } from "../../server/wire/events.js";
import type { JobError, JobKind, JobState, JobSummary } from "../../server/wire/jobs.js";

const ENDS: ReadonlySet<JobState> = new Set(["succeeded", "failed", "cancelled", "timed_out"]);

export function hasEnded(state: JobState): boolean {
  return ENDS.has(state);
}

/** All jobs by id, as the server listed them and as events changed them since. */
export class JobTable {
  readonly #jobs = new Map<string, JobSummary>();

  get size(): number {
    return this.#jobs.size;
  }

  get(id: string): JobSummary | undefined {
    return this.#jobs.get(id);
  }

  all(): Iterable<JobSummary> {
    return this.#jobs.values();
  }

  clear(): void {
    this.#jobs.clear();
  }

  put(jobs: Iterable<JobSummary>): void {
    for (const job of jobs) this.#jobs.set(job.id, job);
  }

  /**
   * Takes over what an event says.
   * @returns the id of a job that is not known and has to be asked for
   */
  apply({ id, type, time, data }: Event): string | undefined {
    if (id === null || !type.startsWith("job.")) return undefined;
    if (type === "job.removed") {
      this.#jobs.delete(id);
      return undefined;
    }
    const job = this.#jobs.get(id);
    if (job === undefined) {
      if (type !== "job.state" || data["previous"] !== null) return id;
      this.#jobs.set(id, newJob(id, time, data));
    } else {
      const change = CHANGES[type];
      if (change !== undefined) this.#jobs.set(id, { ...job, ...change(job, time, data) });
    }
    return undefined;
  }
}

type Data = Event["data"];

const CHANGES: Readonly<Record<string, (job: JobSummary, time: string, data: Data) => Partial<JobSummary>>> = {
  "job.state": changeState,
  "job.progress": (_job, _time, { done, total }) => ({ progress: { done: Number(done), total: Number(total) } }),
  "job.cancel_requested": () => ({ isCancelRequested: true }),
};

function changeState(job: JobSummary, time: string, data: Data): Partial<JobSummary> {
  const state = data["state"] as JobState;
  const previous = data["previous"] as JobState | null;
  const error = data["error"] as JobError | undefined;
  const common = { state, attempt: Number(data["attempt"] ?? job.attempt) };
  if (hasEnded(state))
    return { ...common, finishedAt: time, error: state === "succeeded" ? null : (error ?? job.error) };
  if (state === "starting") return { ...common, startedAt: job.startedAt ?? time, progress: null };
  if (state === "queued" && previous !== null && hasEnded(previous)) {
    const fresh = { startedAt: null, finishedAt: null, error: null, progress: null, isCancelRequested: false };
    return { ...common, ...fresh };
  }
  return error === undefined ? common : { ...common, error };
}

function newJob(id: string, time: string, data: Data): JobSummary {
  return {
    id,
    kind: data["kind"] as JobKind,
    name: (data["name"] ?? null) as string | null,
    state: data["state"] as JobState,
    priority: Number(data["priority"] ?? 0),
    parent: (data["parent"] ?? null) as string | null,
    ...{ idempotencyKey: null, attempt: 0, lostAttempts: 0, isCancelRequested: false },
    ...{ progress: null, error: null, createdAt: time, startedAt: null, finishedAt: null },
  };
}
