import { randomBytes } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Config } from "../config/schema.js";
import { CancelledError, KittyError } from "../errors.js";
import { scancel } from "../slurm/scancel.js";
import { FollowedTask, type TaskEnd, type TaskHooks } from "./followed-task.js";
import {
  forgetTask,
  readOutcome,
  readSubmission,
  readTask,
  writeWhole,
  type Outcome,
  type TaskFile,
} from "./slurm-files.js";
import { SlurmFollower } from "./slurm-follower.js";
import { SlurmQueue } from "./slurm-queue.js";
import { goneError, isLost, outputTail } from "./slurm-ends.js";
import { SlurmSubmitter, type NewTask, type Placement } from "./slurm-submitter.js";

const CANCEL_GATHER_MS = 100;

export interface SlurmTaskOptions extends NewTask {
  /** Ends the following; with `isCancelled` the job in Slurm too. */
  signal: AbortSignal;
  isCancelled: () => boolean;
  begin: () => void;
  progress: (done: number, total: number) => void;
}

/** Jobs as tasks in Slurm: submitted, found again after a restart, followed to their end, cancelled. */
export class SlurmTasks {
  readonly queue = new SlurmQueue();
  readonly #submitter: SlurmSubmitter;
  readonly #follower: SlurmFollower;
  readonly #closing = new AbortController();
  #cancelling: { ids: string[]; done: Promise<void> } | undefined;

  /** @param folder the shared one */
  constructor(config: Config, folder: string, onTrouble: (message: string) => void) {
    const prefix = `kitty-kv-${orchestratorName(folder)}`;
    this.#submitter = new SlurmSubmitter({ config, folder, prefix, queue: this.queue, signal: this.#closing.signal });
    this.#follower = new SlurmFollower({ slurm: config.slurm, queue: this.queue, onTrouble });
  }

  /**
   * Runs a job in Slurm to its end, from wherever an earlier attempt left it. What is lost (a node that died, preemption,
   * a time limit that came too suddenly) is submitted again, as often as the job has attempts.
   * @throws what the task failed with; KittyError; CancelledError once the signal fired
   */
  async run(options: SlurmTaskOptions): Promise<Extract<Outcome, { kind: "succeeded" }>> {
    const { job, folder, log } = options;
    for (let lost = 1; ; lost++) {
      const end = await this.#runOnce(options);
      if (end.kind === "outcome" && end.outcome.kind === "succeeded") return end.outcome;
      // The next attempt is a new submission.
      forgetTask(folder);
      if (end.kind === "outcome") throw failure(end.outcome);
      const { maxAttempts } = job.spec.retry;
      if (!isLost(end.how) || lost >= maxAttempts) throw goneError(job, end, lost);
      log(`${end.found}; submitting it again (${String(lost)} of ${String(maxAttempts)} attempts were lost)`);
    }
  }

  /** Stops following; what is in Slurm goes on there. */
  close(): void {
    this.#closing.abort();
  }

  async #runOnce(options: SlurmTaskOptions): Promise<TaskEnd> {
    const { folder, signal } = options;
    const known = readTask(folder);
    if (known !== undefined && readOutcome(folder, known) !== undefined) return await catchUp(known, options);
    const stopped = onAbort(signal);
    try {
      const placing = this.#place(options);
      const placement = await Promise.race([placing, stopped.promise]);
      if (placement === undefined) return await this.#giveUp(options, placing);
      options.log(`it is Slurm job ${placement.id} (${placement.batch})`);
      const following = this.#follower.follow(placement, folder, hooksOf(options));
      const end = await Promise.race([following, stopped.promise]);
      if (end === undefined) return await this.#giveUp(options, Promise.resolve(placement));
      if (end.kind === "gone") await this.#buryOne(placement, end.how, options.log);
      return end;
    } finally {
      stopped.dispose();
    }
  }

  /** Where an earlier orchestrator left it, else where it is submitted now. */
  async #place(options: SlurmTaskOptions): Promise<Placement> {
    const { folder, log } = options;
    const known = readTask(folder);
    if (known === undefined || !existsSync(known.folder)) return await this.#submitter.submit(options);
    const { batch, index, folder: batchFolder } = known;
    const written = readSubmission(batchFolder);
    // It may have died between Slurm's answer and the note of it.
    const jobId = written?.jobId ?? (await this.#submitter.find(batch, log));
    if (jobId === undefined) return await this.#submitter.submit(options);
    log("found again in Slurm");
    const isArray = existsSync(join(batchFolder, "tasks.json")) && tasksIn(batchFolder) > 1;
    const id = isArray ? `${jobId}_${String(index)}` : jobId;
    return { jobId, submittedMs: written?.submittedMs ?? Date.now(), batch, batchFolder, index, id };
  }

  async #giveUp({ isCancelled, job, folder }: SlurmTaskOptions, placing: Promise<Placement>): Promise<never> {
    if (isCancelled()) {
      const placement = await placing.catch(() => undefined);
      if (placement !== undefined) {
        await this.#cancel(placement.id);
        this.#follower.forget(placement.id);
      }
      forgetTask(folder);
    } else {
      placing.then(
        ({ id }) => {
          this.#follower.forget(id);
        },
        () => undefined,
      );
    }
    throw new CancelledError(`Cannot go on with job ${job.id}: it was given up here`);
  }

  async #buryOne({ id, batchFolder, index }: Placement, how: string, log: (line: string) => void): Promise<void> {
    for (const line of outputTail(batchFolder, index, id.includes("_"))) log(`| ${line}`);
    if (how === "hopeless") await this.#cancel(id);
  }

  /** Many at once become one call. */
  async #cancel(id: string): Promise<void> {
    if (this.#cancelling === undefined) {
      const ids: string[] = [];
      const done = new Promise((resolve) => setTimeout(resolve, CANCEL_GATHER_MS)).then(() => {
        this.#cancelling = undefined;
        this.queue.calls.scancel += 1;
        return scancel(ids);
      });
      this.#cancelling = { ids, done };
    }
    this.#cancelling.ids.push(id);
    await this.#cancelling.done;
  }
}

/** What ended while no orchestrator was there: its end, and what it said last. */
function catchUp({ batch, index, folder: batchFolder }: TaskFile, options: SlurmTaskOptions): Promise<TaskEnd> {
  const placement = { batch, batchFolder, index, jobId: "", id: "", submittedMs: 0 };
  const task = new FollowedTask(placement, options.folder, hooksOf(options));
  task.readFiles();
  return task.ended;
}

function hooksOf({ begin, progress, log }: SlurmTaskOptions): TaskHooks {
  return { onBegin: begin, onProgress: progress, onLog: log };
}

function tasksIn(batchFolder: string): number {
  return (JSON.parse(readFileSync(join(batchFolder, "tasks.json"), "utf8")) as unknown[]).length;
}

function failure({ kind, ...rest }: Outcome): KittyError {
  if (!("error" in rest)) throw new RangeError(`Cannot fail with an outcome that is ${kind}`);
  const { code, message, details } = rest.error;
  return new KittyError(message, { code: kind === "timed_out" ? "time_limit" : code, details });
}

/** A name for all submissions from this folder, so that no other orchestrator's are taken for ours. */
function orchestratorName(folder: string): string {
  const path = join(folder, "slurm", "orchestrator");
  if (existsSync(path)) return readFileSync(path, "utf8").trim();
  const name = randomBytes(4).toString("hex");
  writeWhole(path, `${name}\n`, true);
  return name;
}

/** Resolves with nothing when the signal fires. */
function onAbort(signal: AbortSignal): { promise: Promise<undefined>; dispose: () => void } {
  let fire = (): void => undefined;
  const promise = new Promise<undefined>((resolve) => {
    fire = () => {
      resolve(undefined);
    };
  });
  if (signal.aborted) fire();
  signal.addEventListener("abort", fire, { once: true });
  return {
    promise,
    dispose: () => {
      signal.removeEventListener("abort", fire);
    },
  };
}
