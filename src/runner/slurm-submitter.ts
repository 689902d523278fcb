import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Config } from "../config/schema.js";
import { CancelledError, KittyError } from "../errors.js";
import type { Job } from "../job/job.js";
import { SlurmError } from "../slurm/run-slurm.js";
import { sbatch } from "../slurm/sbatch.js";
import { deferred, type Deferred } from "../util/deferred.js";
import {
  BATCH_FILES,
  taskFile,
  writeJson,
  writeWhole,
  type Need,
  type Submission,
  type TaskFile,
} from "./slurm-files.js";
import { groupTasks, type TaskGroup } from "./slurm-groups.js";
import { isSubmission, type SlurmQueue } from "./slurm-queue.js";
import { needsOf, taskScript } from "./slurm-request.js";

// What comes within this time becomes one array.
const GATHER_MS = 100;
const FIRST_WAIT_MS = 2000;
const LAST_WAIT_MS = 60_000;
// A submission that was answered by a time-out may appear late.
const LOOKS = 2;

export interface NewTask {
  job: Job;
  /** Of the job. */
  folder: string;
  /** The tasks that must succeed first; Slurm waits for them. */
  needs: readonly Placed[];
  log: (line: string) => void;
}

/** A job's task, where it is now. */
export interface Placed extends Placement {
  job: string;
}

/** Where in Slurm a task is. */
export interface Placement extends Submission {
  batch: string;
  batchFolder: string;
  index: number;
  /** Of the submission; several are an array. */
  tasks: number;
  /** As squeue has it: `11`, or `11_2` of an array. */
  id: string;
}

interface Waiting extends NewTask {
  key: string;
  placed: Deferred<Placement>;
}

export interface SubmitterOptions {
  /** The whole configuration that nodes work by. */
  config: Config;
  /** The shared folder; submissions get folders of their own below it. */
  folder: string;
  /** Begins the names of all submissions. */
  prefix: string;
  queue: SlurmQueue;
  signal: AbortSignal;
}

/** Submits tasks: those that come together and need the same become one array. */
export class SlurmSubmitter {
  readonly #options: SubmitterOptions;
  #gathered: Waiting[] = [];

  constructor(options: SubmitterOptions) {
    this.#options = options;
  }

  /** @throws SlurmError when the site refuses it, KittyError `shared_folder`, CancelledError */
  submit(task: NewTask): Promise<Placement> {
    const key = JSON.stringify(needsOf(this.#options.config.slurm, task.job.spec));
    const waiting = { ...task, key, placed: deferred<Placement>() };
    this.#gathered.push(waiting);
    if (this.#gathered.length === 1) setTimeout(() => void this.#flush(), GATHER_MS);
    return waiting.placed.promise;
  }

  /** The submission of this name, should Slurm know it; waits until Slurm answers. */
  async find(batch: string, log: (line: string) => void): Promise<string | undefined> {
    for (let waitMs = FIRST_WAIT_MS; ; waitMs = longer(waitMs)) {
      try {
        return (await this.#options.queue.look()).find((job) => isSubmission(job, batch))?.jobId;
      } catch (error) {
        if (!isPassing(error)) throw error;
        log(`${error.message}; asking again in ${String(waitMs / 1000)} s`);
        await this.#sleep(waitMs);
      }
    }
  }

  async #flush(): Promise<void> {
    const gathered = this.#gathered;
    this.#gathered = [];
    for (const group of groupTasks(gathered, await this.#arrayLimit())) await this.#submitOne(group);
  }

  async #arrayLimit(): Promise<number> {
    const { config, queue } = this.#options;
    if (config.slurm.maxArraySize !== null) return config.slurm.maxArraySize;
    // Whatever is wrong with Slurm is told by the submission itself; until then, its default counts.
    return await queue.site().then(
      ({ maxArraySize }) => Math.max(1, maxArraySize - 1),
      () => 1000,
    );
  }

  async #submitOne(group: TaskGroup<Waiting>): Promise<void> {
    const { folder, prefix } = this.#options;
    const { tasks } = group;
    const batch = `${prefix}-${randomBytes(4).toString("hex")}`;
    const batchFolder = join(folder, "slurm", batch);
    try {
      this.#writeFiles(batch, batchFolder, group);
      const jobId = await this.#submitScript(batch, batchFolder, tasks);
      const submission = { jobId, submittedMs: Date.now() };
      note(join(batchFolder, BATCH_FILES.submission), submission);
      for (const [index, { placed }] of tasks.entries()) {
        const id = tasks.length === 1 ? jobId : `${jobId}_${String(index)}`;
        placed.resolve({ ...submission, batch, batchFolder, index, tasks: tasks.length, id });
      }
    } catch (error) {
      for (const { placed } of tasks) placed.reject(error as Error);
    }
  }

  #writeFiles(batch: string, batchFolder: string, { tasks, dependency }: TaskGroup<Waiting>): void {
    const [first] = tasks;
    if (first === undefined) throw new RangeError("Cannot submit a group without a task");
    const { slurm } = this.#options.config;
    const array = tasks.length === 1 ? undefined : { count: tasks.length, parallel: slurm.arrayParallel };
    const placed = { name: batch, comment: batch, folder: batchFolder, array, dependency, isRequeued: true };
    const outputFile = array === undefined ? BATCH_FILES.output : BATCH_FILES.arrayOutput;
    const script = taskScript(slurm, needsOf(slurm, first.job.spec), { ...placed, outputFile });
    writeWhole(join(batchFolder, BATCH_FILES.script), script);
    writeJson(join(batchFolder, BATCH_FILES.config), this.#options.config);
    writeJson(
      join(batchFolder, BATCH_FILES.tasks),
      tasks.map((task) => task.folder),
    );
    if (dependency !== undefined) writeJson(join(batchFolder, BATCH_FILES.needs), needLists(tasks, dependency));
    for (const [index, { job, folder }] of tasks.entries()) {
      writeJson(taskFile(folder, "task"), { batch, index, folder: batchFolder, job } satisfies TaskFile);
    }
  }

  async #submitScript(batch: string, batchFolder: string, tasks: readonly Waiting[]): Promise<string> {
    const { queue, signal } = this.#options;
    const log = (line: string): void => {
      for (const task of tasks) task.log(line);
    };
    for (let waitMs = FIRST_WAIT_MS; ; waitMs = longer(waitMs)) {
      try {
        queue.calls.sbatch += 1;
        const purpose = tasks.length === 1 ? "submit a job" : `submit ${String(tasks.length)} jobs`;
        return (await sbatch(join(batchFolder, BATCH_FILES.script), purpose, { signal })).jobId;
      } catch (error) {
        if (!isPassing(error)) throw error;
        log(`${error.message}; going on in ${String(waitMs / 1000)} s`);
        await this.#sleep(waitMs);
        const found = error.kind === "ambiguous" ? await this.#lookTwice(batch, log) : undefined;
        if (found !== undefined) return found;
      }
    }
  }

  async #lookTwice(batch: string, log: (line: string) => void): Promise<string | undefined> {
    for (let look = 1; look <= LOOKS; look++) {
      const found = await this.find(batch, log);
      if (found !== undefined) {
        log(`it was submitted all the same, as Slurm job ${found}`);
        return found;
      }
      await this.#sleep(FIRST_WAIT_MS);
    }
    log("it was not submitted; submitting it again");
    return undefined;
  }

  async #sleep(waitMs: number): Promise<void> {
    await sleep(waitMs, undefined, { signal: this.#options.signal }).catch(() => {
      throw new CancelledError("Cannot go on submitting jobs: this orchestrator ends");
    });
  }
}

/** Tasks that wait for the same have one list together. */
function needLists(tasks: readonly Waiting[], dependency: string): Need[][] {
  const own = dependency.startsWith("aftercorr") ? tasks : tasks.slice(0, 1);
  return own.map(({ needs }) => needs.map(({ job, batch, index }) => ({ job, batch, index })));
}

/** It is in the queue now: a disk that is full since then is no reason to lose it, and it can be found by its name. */
function note(path: string, submission: Submission): void {
  try {
    writeJson(path, submission, { isDurable: true });
  } catch (error) {
    if (!(error instanceof KittyError)) throw error;
  }
}

/** Whether the same call may succeed later. */
export function isPassing(error: unknown): error is SlurmError {
  return error instanceof SlurmError && ["ambiguous", "unreachable", "busy"].includes(error.kind);
}

function longer(waitMs: number): number {
  return Math.min(waitMs * 2, LAST_WAIT_MS);
}
