import type { Config } from "../../config/schema.js";
import type { JobSpec } from "../../job/job-spec.js";
import type { JobExecutor } from "./executor.js";
import { JobFolder } from "./job-folder.js";
import type { JobQueue } from "./job-queue.js";
import type { JobStore } from "./job-store.js";
import { RunningAttempt } from "./running-attempt.js";

const TICK_MS = 200;
const RETENTION_INTERVAL_MS = 60_000;

export type Executors = Readonly<Record<JobSpec["kind"], JobExecutor>>;

export interface SchedulerOptions {
  store: JobStore;
  queue: JobQueue;
  executors: Executors;
  jobsFolder: string;
  config: Pick<Config["jobs"], "slots" | "gpus" | "leaseMs" | "keepDays" | "keepEvents">;
  /** Whether jobs run where somebody else gives GPUs out and keeps limits: Slurm. */
  isElsewhere: boolean;
  /** Hears what goes wrong with the store; what it was about is tried again. */
  onError: (error: unknown) => void;
}

/** Starts jobs when it is their turn and writes down how they ended. */
export class Scheduler {
  readonly #options: SchedulerOptions;
  readonly #running = new Map<string, RunningAttempt>();
  /** Ends that could not be written yet. */
  readonly #unrecorded = new Set<() => void>();
  #timer: NodeJS.Timeout | undefined;
  #foreignVersion = -1;
  #renewedMs = performance.now();
  #cleanedMs = -Infinity;
  #isClosing = false;

  constructor(options: SchedulerOptions) {
    this.#options = options;
  }

  /** Puts back what a dead orchestrator left, and begins. */
  start(): void {
    this.#options.queue.recover();
    this.#timer = setInterval(() => {
      this.tick();
    }, TICK_MS);
    this.tick();
  }

  /** Looks for work now; also runs by itself a few times a second. */
  tick(): void {
    if (this.#timer === undefined) return;
    try {
      this.#record();
      this.#stopCancelled();
      for (const attempt of this.#running.values()) attempt.checkDeadline();
      this.#heartbeat();
      if (!this.#isClosing) while (this.#startNext());
      this.#cleanUp();
    } catch (error) {
      this.#options.onError(error);
    }
  }

  /** Puts what runs back into the queue and resolves when nothing runs any more. */
  async close(): Promise<void> {
    this.#isClosing = true;
    const attempts = [...this.#running.values()];
    for (const attempt of attempts) attempt.stop("shutdown");
    await Promise.all(attempts.map(({ ended }) => ended));
    // One turn more, in which the last ends are handed over.
    await new Promise((resolve) => setImmediate(resolve));
    this.tick();
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #startNext(): boolean {
    const { queue, executors, jobsFolder, config, isElsewhere } = this.#options;
    const attempts = [...this.#running.values()];
    const taken = new Set(attempts.flatMap(({ gpus }) => gpus));
    const free = config.gpus.filter((gpu) => !taken.has(gpu));
    const hasSlot = attempts.filter(({ job }) => job.kind !== "sweep").length < config.slots;
    const job = queue.claim({ hasSlot, freeGpus: isElsewhere ? Number.MAX_SAFE_INTEGER : free.length });
    if (job === undefined) return false;
    const gpus = free.slice(0, job.spec.resources.gpus ?? 0);
    const folder = new JobFolder(jobsFolder, job.id);
    const place = { queue, folder, executor: executors[job.spec.kind], isElsewhere };
    const attempt = new RunningAttempt(job, gpus, place);
    this.#running.set(job.id, attempt);
    void attempt.ended.then((record) => {
      this.#running.delete(job.id);
      this.#unrecorded.add(record);
      this.tick();
    });
    return true;
  }

  #record(): void {
    for (const record of this.#unrecorded) {
      record();
      this.#unrecorded.delete(record);
    }
  }

  /** Also sees what other processes wrote. */
  #stopCancelled(): void {
    for (const id of this.#options.queue.cancelRequests()) this.#running.get(id)?.stop("cancel");
    const version = this.#options.store.database.foreignVersion;
    if (version === this.#foreignVersion) return;
    this.#foreignVersion = version;
    this.#options.store.events.tellSoon();
  }

  #heartbeat(): void {
    if (this.#running.size === 0 || performance.now() - this.#renewedMs < this.#options.config.leaseMs / 3) return;
    this.#renewedMs = performance.now();
    this.#options.queue.renewLeases();
  }

  #cleanUp(): void {
    if (performance.now() - this.#cleanedMs < RETENTION_INTERVAL_MS) return;
    this.#cleanedMs = performance.now();
    const { store, queue, config, jobsFolder, onError } = this.#options;
    for (const id of queue.expired(store.now() - config.keepDays * 86_400_000)) {
      // The folder first: a crash in between leaves a job without files, never files without a job.
      new JobFolder(jobsFolder, id).remove().then(() => {
        queue.remove(id);
      }, onError);
    }
    store.events.trim(config.keepEvents);
  }
}
