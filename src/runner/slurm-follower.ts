import type { Config } from "../config/schema.js";
import { KittyError } from "../errors.js";
import { sacct } from "../slurm/sacct.js";
import { SlurmError } from "../slurm/run-slurm.js";
import type { KnownJob } from "../slurm/squeue.js";
import { FollowedTask } from "./followed-task.js";
import { NoticeReader } from "./slurm-notices.js";
import { isSubmission, type SlurmQueue } from "./slurm-queue.js";
import type { Placement } from "./slurm-submitter.js";
import type { TaskEnd, TaskHooks } from "./followed-task.js";

const FILES_MS = 1000;
const GROWTH = 1.5;
// Slurm may not know a job yet that it has just taken; one look is no proof.
const MISSES = 2;

/** Where news of tasks comes from. */
type Source = "squeue" | "sacct" | "files";

export interface FollowerOptions {
  slurm: Config["slurm"];
  queue: SlurmQueue;
  /** Hears that Slurm did not answer, once for each time it stops. */
  onTrouble: (message: string) => void;
}

/**
 * Follows all tasks of an orchestrator: with one call an interval, whatever their number, and by the files that the tasks
 * themselves write. A call that fails changes nothing that is known.
 */
export class SlurmFollower {
  readonly #options: FollowerOptions;
  readonly #tasks = new Map<string, FollowedTask>();
  readonly #notices = new NoticeReader();
  #timer: NodeJS.Timeout | undefined;
  #isBusy = false;
  /** What does not answer now, and was told of. */
  readonly #silent = new Set<Source>();
  #intervalMs: number;
  #nextLook = 0;

  constructor(options: FollowerOptions) {
    this.#options = options;
    this.#intervalMs = options.slurm.pollMinMs;
  }

  /** Resolves when the task has ended; never rejects. */
  follow(placement: Placement, folder: string, hooks: TaskHooks): Promise<TaskEnd> {
    const task = new FollowedTask(placement, folder, hooks);
    this.#tasks.set(placement.id, task);
    this.#soon();
    this.#timer ??= setInterval(() => void this.#tick(), FILES_MS);
    return task.ended.finally(() => {
      this.forget(placement.id);
    });
  }

  /** Stops following; nothing happens to the task itself. */
  forget(id: string): void {
    this.#tasks.get(id)?.stop();
    this.#tasks.delete(id);
    if (this.#tasks.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  async #tick(): Promise<void> {
    if (this.#isBusy) return;
    this.#isBusy = true;
    try {
      this.#readNotices();
      this.#readFiles([...this.#tasks.values()].filter((task) => task.isActive));
      if (performance.now() >= this.#nextLook) await this.#look();
    } catch (error) {
      this.#tellTrouble("squeue", error);
    } finally {
      this.#isBusy = false;
    }
  }

  /** What nodes say long before the next look. */
  #readNotices(): void {
    const byBatch = new Map<string, FollowedTask[]>();
    for (const task of this.#tasks.values()) {
      const { batchFolder } = task.placement;
      const known = byBatch.get(batchFolder);
      if (known === undefined) byBatch.set(batchFolder, [task]);
      else known.push(task);
    }
    for (const [folder, tasks] of byBatch) {
      const noticed = this.#noticed(folder);
      if (noticed.size > 0) for (const task of tasks) if (noticed.has(task.placement.index)) task.notice();
    }
  }

  /** Files of one that cannot be read now tell nothing of the others. */
  #readFiles(tasks: readonly FollowedTask[]): void {
    let isWell = tasks.length > 0;
    for (const task of tasks) {
      try {
        task.readFiles();
      } catch (error) {
        isWell = false;
        this.#tellTrouble("files", error);
      }
    }
    if (isWell) this.#silent.delete("files");
  }

  #noticed(folder: string): ReadonlySet<number> {
    try {
      return this.#notices.read(folder);
    } catch (error) {
      this.#tellTrouble("files", error);
      return new Set();
    }
  }

  async #look(): Promise<void> {
    const asked = [...this.#tasks.values()];
    let jobs: KnownJob[];
    try {
      jobs = await this.#options.queue.look();
    } finally {
      this.#nextLook = performance.now() + this.#intervalMs;
    }
    this.#silent.delete("squeue");
    const byId = new Map(jobs.map((job) => [job.id, job]));
    let hasChanged = false;
    const missing: FollowedTask[] = [];
    for (const task of asked) {
      const job = byId.get(task.placement.id);
      if (job !== undefined && isSubmission(job, task.placement.batch)) hasChanged = task.update(job) || hasChanged;
      else if (task.miss() >= MISSES) missing.push(task);
      else hasChanged = true;
    }
    if (missing.length > 0) await this.#askAccounting(missing, jobs);
    this.#adapt(hasChanged);
  }

  /** Of what left the queue; one call for all. */
  async #askAccounting(missing: readonly FollowedTask[], queued: readonly KnownJob[]): Promise<void> {
    this.#readFiles(missing);
    const open = missing.filter((task) => !task.hasEnded);
    if (open.length === 0) return;
    const known = await this.#accounting(open);
    if (known === undefined) return;
    const arrays = new Set(queued.map(({ jobId, name }) => `${jobId} ${name}`));
    for (const task of open) {
      const { id, jobId, batch } = task.placement;
      const job = known.get(id);
      if (job !== undefined && isSubmission(job, batch)) task.update(job);
      else task.vanish(arrays.has(`${jobId} ${batch}`));
    }
  }

  /** @returns undefined while accounting does not answer */
  async #accounting(tasks: readonly FollowedTask[]): Promise<Map<string, KnownJob> | undefined> {
    const { queue } = this.#options;
    if (!(await queue.site()).hasAccounting) return new Map();
    queue.calls.sacct += 1;
    const ids = [...new Set(tasks.map(({ placement }) => placement.jobId))];
    const since = Math.min(...tasks.map(({ placement }) => placement.submittedMs)) - 3_600_000;
    try {
      const jobs = await sacct(ids, new Date(since), "follow jobs that left the queue");
      this.#silent.delete("sacct");
      return new Map(jobs.map((job) => [job.id, job]));
    } catch (error) {
      if (error instanceof SlurmError && error.kind === "accounting_off") return new Map();
      this.#tellTrouble("sacct", error);
      return undefined;
    }
  }

  #adapt(hasChanged: boolean): void {
    const { pollMinMs, pollMaxMs } = this.#options.slurm;
    this.#intervalMs = hasChanged ? pollMinMs : Math.min(this.#intervalMs * GROWTH, pollMaxMs);
    this.#nextLook = performance.now() + this.#intervalMs;
  }

  #soon(): void {
    this.#intervalMs = this.#options.slurm.pollMinMs;
    this.#nextLook = Math.min(this.#nextLook, performance.now() + this.#intervalMs);
  }

  #tellTrouble(source: Source, error: unknown): void {
    // A defect must not look like a site's bad day.
    if (!(error instanceof KittyError)) throw error;
    if (!this.#silent.has(source))
      this.#options.onTrouble(`${error.message}; what is known of the jobs stays until then`);
    this.#silent.add(source);
  }
}
