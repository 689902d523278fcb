import type { Readable } from "node:stream";
import { JobFailedError } from "../../errors.js";
import { isJobEvent, type JobEvent, type JobStateEvent, type KittyEvent } from "../../job/event.js";
import { isTerminal } from "../../job/job-state.js";
import type { JobLogPage, JobService } from "../../job/job-service.js";
import type { Job, JobResult } from "../../job/job.js";

/** One job, to follow and to end; as many of them as you like stand for the same job. */
export class JobHandle {
  readonly id: string;
  readonly #service: JobService;
  #job: Job;

  constructor(job: Job, service: JobService) {
    this.id = job.id;
    this.#job = job;
    this.#service = service;
  }

  /** The job as this handle last saw it; `refresh()` looks again. */
  get job(): Job {
    return this.#job;
  }

  async refresh(): Promise<Job> {
    return (this.#job = await this.#service.get(this.id));
  }

  async cancel(): Promise<Job> {
    return (this.#job = await this.#service.cancel(this.id));
  }

  async retry(): Promise<Job> {
    return (this.#job = await this.#service.retry(this.id));
  }

  async logs(options: { offset?: number; limitBytes?: number } = {}): Promise<JobLogPage> {
    return await this.#service.logs(this.id, options);
  }

  /**
   * A file of the result, such as `results.jsonl`, as a stream.
   * @throws NotFoundError `job_file_not_found`
   */
  async openFile(name: string): Promise<Readable> {
    return await this.#service.openFile(this.id, name);
  }

  /** Resolves once the job has ended, however it did. */
  async wait(options: { signal?: AbortSignal } = {}): Promise<Job> {
    return (this.#job = await this.#service.wait(this.id, options));
  }

  /**
   * Waits for the result.
   * @throws JobFailedError when the job ends in another state than succeeded, CancelledError when the signal fires
   */
  async result(options: { signal?: AbortSignal } = {}): Promise<JobResult> {
    const { state, result, error } = await this.wait(options);
    if (state === "succeeded" && result !== null) return result;
    throw new JobFailedError(`Cannot get the result of job ${this.id}: it is ${state}${suffix(error?.message)}`, {
      details: { id: this.id, state, error },
    });
  }

  /**
   * What happened to the job, from its submission to its end.
   * @throws KittyError `unreachable` when its server is gone for good
   */
  async *events({ since = 0 }: { since?: number } = {}): AsyncGenerator<JobEvent, void, undefined> {
    const queue: KittyEvent[] = [];
    let wake: (() => void) | undefined;
    let failure: { error: unknown } | undefined;
    const onError = (error: unknown): void => {
      failure = { error };
      wake?.();
    };
    const onEvent = (event: KittyEvent): void => {
      queue.push(event);
      wake?.();
    };
    const stop = this.#service.events.subscribe(since, onEvent, { id: this.id, onError });
    try {
      for (;;) {
        const event = queue.shift();
        if (event === undefined && failure !== undefined) throw failure.error;
        if (event === undefined) await new Promise<void>((resolve) => (wake = resolve));
        else if (event.type === "snapshot") {
          // It stands for events that are not kept any more, the job's end perhaps among them.
          if (isTerminal((await this.refresh()).state)) return;
        } else if (isJobEvent(event)) {
          yield event;
          if (event.type === "job.state" && isTerminal(event.data.state) && (await this.#isLatest(event))) return;
        }
      }
    } finally {
      stop();
    }
  }

  /** A job that was retried has ended before and goes on. */
  async #isLatest({ data }: JobStateEvent): Promise<boolean> {
    const { state, attempt } = await this.refresh();
    return state === data.state && attempt === data.attempt;
  }
}

function suffix(message: string | undefined): string {
  return message === undefined ? "" : ` (${message})`;
}
