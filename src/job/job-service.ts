import type { Readable } from "node:stream";
import type { KittyEvent } from "./event.js";
import type { EventFeed } from "./event-log.js";
import type { JobSpecInput } from "./job-spec.js";
import type { JobState } from "./job-state.js";
import type { Job, JobSummary } from "./job.js";
import type { JobReport } from "./report-schemas.js";

export interface SubmitOptions {
  /** The same key with the same spec answers with the job that is there, with another spec it is a conflict. */
  idempotencyKey?: string | undefined;
}

export interface ListJobsOptions {
  state?: JobState | undefined;
  /** Only the children of this sweep. */
  parent?: string | undefined;
  /** @default 50, at most 500 */
  limit?: number | undefined;
  /** The `next` of the page before. */
  cursor?: string | undefined;
}

/** Newest first. */
export interface JobPage {
  jobs: JobSummary[];
  /** What asks for the next page; null on the last one. */
  next: string | null;
}

export interface JobLogPage {
  text: string;
  /** Bytes from the beginning of the log, where `text` begins and ends; characters are never cut. */
  offset: number;
  nextOffset: number;
  /** Of the whole log, as it is now. */
  sizeBytes: number;
  /** Whether the job has ended and nothing follows. */
  isEnd: boolean;
}

/** Durable jobs. Where a job does not exist, each method rejects with NotFoundError `job_not_found`. */
export interface JobService {
  readonly events: EventFeed;

  /**
   * Stores a job; it is on disk when this resolves.
   * @throws ConfigError; UnsupportedError; KittyError `idempotency_conflict`
   */
  submit(spec: JobSpecInput, options?: SubmitOptions): Promise<Job>;

  /** The same for many, in one write: all of them or none. */
  submitMany(specs: readonly JobSpecInput[]): Promise<Job[]>;

  get(id: string): Promise<Job>;

  list(options?: ListJobsOptions): Promise<JobPage>;

  /** Ends a job that waits at once and asks one that runs to end; does nothing to one that has ended. */
  cancel(id: string): Promise<Job>;

  /**
   * Queues a job that failed, was cancelled or ran out of time once more, with all its attempts.
   * @throws KittyError `job_state_conflict` for any other
   */
  retry(id: string): Promise<Job>;

  /** The job's events but its progress, the oldest first. */
  history(id: string): Promise<KittyEvent[]>;

  logs(id: string, options?: { offset?: number | undefined; limitBytes?: number | undefined }): Promise<JobLogPage>;

  /**
   * One of the files that the job's result names; whoever reads it destroys it to give up.
   * @throws NotFoundError `job_file_not_found`
   */
  openFile(id: string, name: string): Promise<Readable>;

  /**
   * One report about jobs that measured something; a sweep stands for its children, and of what still runs it has what is
   * answered so far.
   * @throws ConfigError `no_results`, `report_too_large`; CancelledError
   */
  report(ids: readonly string[], options?: { signal?: AbortSignal | undefined }): Promise<JobReport>;

  /**
   * Resolves with the job once it has ended, however it did.
   * @throws CancelledError when the signal fires; the job goes on
   */
  wait(id: string, options?: { signal?: AbortSignal | undefined }): Promise<Job>;
}
