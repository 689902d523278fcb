import { KittyError, UnsupportedError } from "../../errors.js";
import type { EventFeed, EventLog } from "../../job/event-log.js";
import type { JobSpecInput } from "../../job/job-spec.js";
import type { JobReport } from "../../job/report-schemas.js";
import type { JobPage, JobService, ListJobsOptions, SubmitOptions } from "../../job/job-service.js";
import { JobHandle } from "./job-handle.js";

/** A job service that holds something open; one of this process has the log as well. */
export type ClosableJobService = JobService & { close(): Promise<void>; log?: EventLog | undefined };

/** `kitty.jobs`: durable jobs, here or on a server. */
export class Jobs {
  readonly #open: () => ClosableJobService;
  #service: ClosableJobService | undefined;
  #isClosed = false;

  /** @param open opens the store when it is first asked for, so that a Kitty without jobs needs none */
  constructor(open: () => ClosableJobService) {
    this.#open = open;
  }

  /** What everything below stands on. */
  get service(): JobService {
    if (this.#isClosed)
      throw new KittyError("Cannot use jobs: this Kitty is closed, start a new one", { code: "closed" });
    return (this.#service ??= this.#open());
  }

  /** What happens to jobs, sessions and instances, from any number on. */
  get events(): EventFeed {
    return this.service.events;
  }

  /**
   * The log that this Kitty writes.
   * @throws UnsupportedError on one that is connected to a server, which writes its own
   */
  get log(): EventLog {
    const { log } = this.service as ClosableJobService;
    if (log !== undefined) return log;
    throw new UnsupportedError("Cannot write events: this Kitty is connected to a server, which writes its own");
  }

  /** The same, but undefined where there is none or its store is not open yet. */
  get openLog(): EventLog | undefined {
    return this.#isClosed ? undefined : this.#service?.log;
  }

  /**
   * Stores a job; it is on disk when this resolves, and runs when it is its turn.
   * @throws ConfigError, UnsupportedError; KittyError `idempotency_conflict`, `orchestrator_running`
   * @example const job = await kitty.jobs.submit({ kind: "generate", params: { prompts: ["Once"] } });
   */
  async submit(spec: JobSpecInput, options: SubmitOptions = {}): Promise<JobHandle> {
    return new JobHandle(await this.service.submit(spec, options), this.service);
  }

  /** The same for many, in one write: all of them or none. */
  async submitMany(specs: readonly JobSpecInput[]): Promise<JobHandle[]> {
    return (await this.service.submitMany(specs)).map((job) => new JobHandle(job, this.service));
  }

  /** @throws NotFoundError `job_not_found` */
  async get(id: string): Promise<JobHandle> {
    return new JobHandle(await this.service.get(id), this.service);
  }

  async list(options: ListJobsOptions = {}): Promise<JobPage> {
    return await this.service.list(options);
  }

  /**
   * One report about jobs that measured something, as data and as files.
   * @throws NotFoundError `job_not_found`; ConfigError `no_results`, `report_too_large`
   * @example const { document, files } = await kitty.jobs.report([sweep.id]);
   */
  async report(ids: readonly string[], options: { signal?: AbortSignal | undefined } = {}): Promise<JobReport> {
    return await this.service.report(ids, options);
  }

  /** Puts what runs here back into the queue; nothing is lost, the next orchestrator of the folder goes on. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#service?.close();
  }
}
