import { setMaxListeners } from "node:events";
import { CancelledError, KittyError } from "../../errors.js";
import type { Job, JobError } from "../../job/job.js";
import { DEPENDENCY_UNMET } from "../../runner/slurm-places.js";
import { retryDelayMs } from "../../job/retry.js";
import { stopError, toJobError, type StopReason } from "./attempt-error.js";
import type { JobExecutor } from "./executor.js";
import type { JobFolder } from "./job-folder.js";
import { JobLog } from "./job-log.js";
import type { Attempt, JobQueue } from "./job-queue.js";

const PROGRESS_INTERVAL_MS = 500;
/** Ends that come from elsewhere: a time limit that Slurm kept, a job that somebody cancelled there. */
const END_BY_CODE: Readonly<Record<string, "time_out" | "cancel">> = {
  time_limit: "time_out",
  slurm_cancelled: "cancel",
};
const MEMORY_NOTE =
  "resources.memoryMiB limits nothing on this machine; worker.kvMemoryMiB and apptainer.memoryMiB do, for all jobs together";

export interface AttemptPlace {
  queue: JobQueue;
  folder: JobFolder;
  executor: JobExecutor;
  /** Whether it runs where somebody else keeps the limits, of time too: Slurm. */
  isElsewhere: boolean;
}

/** One attempt while it runs. */
export class RunningAttempt {
  readonly job: Job;
  readonly gpus: readonly string[];
  /** Resolves with what writes the attempt's end into the store; that may fail and be tried again. */
  readonly ended: Promise<() => void>;
  readonly #queue: JobQueue;
  readonly #folder: JobFolder;
  readonly #controller = new AbortController();
  readonly #attempt: Attempt;
  #stopReason: StopReason | undefined;
  #hasBegun = false;
  /** Why the log cannot be written any more. */
  #brokenBy: unknown;
  // Not the wall clock: it may jump.
  readonly #deadlineMs: number;
  readonly #hasUnkeptLimit: boolean;
  readonly #isElsewhere: boolean;
  #toldProgressMs = -Infinity;

  constructor(job: Job, gpus: readonly string[], { queue, folder, executor, isElsewhere }: AttemptPlace) {
    this.job = job;
    this.gpus = gpus;
    this.#queue = queue;
    this.#folder = folder;
    // A sweep waits for each of its children by this signal.
    setMaxListeners(0, this.#controller.signal);
    this.#attempt = { id: job.id, number: job.attempt };
    const { timeLimitMinutes = Infinity, memoryMiB } = job.spec.resources;
    this.#deadlineMs = performance.now() + (isElsewhere ? Infinity : timeLimitMinutes) * 60_000;
    this.#isElsewhere = isElsewhere;
    this.#hasUnkeptLimit = memoryMiB !== undefined && !isElsewhere;
    this.ended = this.#run(executor);
  }

  stop(reason: StopReason): void {
    this.#stopReason ??= reason;
    this.#controller.abort(
      new CancelledError(`Cannot go on with job ${this.job.id}: ${reason}`, { details: { reason } }),
    );
  }

  checkDeadline(): void {
    if (performance.now() > this.#deadlineMs) this.stop("time_out");
  }

  async #run(executor: JobExecutor): Promise<() => void> {
    let log: JobLog | undefined;
    try {
      this.#folder.make();
      const opened = (log = this.#openLog());
      this.#log(opened, `attempt ${String(this.job.attempt)} begins`);
      if (this.#hasUnkeptLimit) this.#log(opened, MEMORY_NOTE);
      const { figures, files } = await executor({
        job: this.job,
        folder: this.#folder,
        signal: this.#controller.signal,
        gpus: this.gpus,
        openDependencies: () => this.#queue.openDependencies(this.job.id),
        begin: () => {
          this.#begin();
        },
        log: (line) => {
          this.#log(opened, line);
        },
        progress: (done, total) => {
          this.#tellProgress(done, total);
        },
      });
      this.#log(opened, "succeeded");
      const result = { figures, files: await this.#folder.describe([...files, "log.txt"]) };
      return () => {
        // What cannot be removed from a folder that is read-only by now is in nobody's way.
        if (this.#queue.succeed(this.#attempt, result)) this.#folder.removePartial().catch(() => undefined);
      };
    } catch (error) {
      return this.#failure(this.#brokenBy ?? error, log);
    } finally {
      log?.close();
    }
  }

  /** What runs elsewhere goes on there, although its log cannot be written here. */
  #openLog(): JobLog | undefined {
    try {
      return new JobLog(this.#folder);
    } catch (error) {
      if (!this.#isElsewhere || !(error instanceof KittyError)) throw error;
      return undefined;
    }
  }

  /** What a job's process prints comes where an error would have nobody to catch it, so it ends the attempt instead. */
  #log(log: JobLog | undefined, line: string): void {
    try {
      log?.write(line);
    } catch (error) {
      if (this.#isElsewhere) return;
      this.#brokenBy ??= error;
      this.#controller.abort(error);
    }
  }

  #failure(error: unknown, log: JobLog | undefined): () => void {
    const { id, spec } = this.job;
    const reason = this.#stopReason;
    if (reason === "shutdown") return () => this.#queue.requeue(this.#attempt, 0, null);
    if (reason !== undefined) {
      const end = stopError(id, reason, spec.resources.timeLimitMinutes);
      writeLast(log, end.message);
      return () => this.#queue.end(this.#attempt, reason, end);
    }
    const failure = toJobError(error);
    writeLast(log, failure.message);
    if (failure.code === DEPENDENCY_UNMET) return () => this.#queue.postpone(this.#attempt);
    return () => {
      this.#retryOrFail(failure);
    };
  }

  #retryOrFail(failure: JobError): void {
    const action = END_BY_CODE[failure.code];
    if (action !== undefined) {
      this.#queue.end(this.#attempt, action, failure);
      return;
    }
    const failed = this.#queue.failedAttempts(this.job.id) + 1;
    const delayMs = retryDelayMs(this.job.spec.retry, failed, failure.code);
    if (delayMs === undefined) this.#queue.end(this.#attempt, "fail", failure);
    else this.#queue.requeue(this.#attempt, delayMs, failure);
  }

  #begin(): void {
    if (!this.#hasBegun) this.#queue.begin(this.#attempt);
    this.#hasBegun = true;
  }

  #tellProgress(done: number, total: number): void {
    const now = performance.now();
    if (done < total && now - this.#toldProgressMs < PROGRESS_INTERVAL_MS) return;
    this.#toldProgressMs = now;
    try {
      this.#queue.setProgress(this.#attempt, { done, total });
    } catch (error) {
      // A store that is locked or full for a while costs no attempt; the next progress says it all.
      if (!(error instanceof KittyError)) throw error;
    }
  }
}

/** The log may be what failed; the error that it would have held is in the store. */
function writeLast(log: JobLog | undefined, line: string): void {
  try {
    log?.write(line);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
  }
}
