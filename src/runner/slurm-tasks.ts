import { existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { Config } from "../config/schema.js";
import { CancelledError } from "../errors.js";
import { missingFile } from "../slurm/batch-script.js";
import { SlurmError } from "../slurm/run-slurm.js";
import { scancel } from "../slurm/scancel.js";
import { orchestratorName } from "./orchestrator-name.js";
import { FollowedTask, type TaskEnd, type TaskHooks } from "./followed-task.js";
import {
  forgetTask,
  readNeeds,
  readOutcome,
  readSubmission,
  readTask,
  readTasks,
  type Outcome,
  type TaskFile,
} from "./slurm-files.js";
import { SlurmFollower } from "./slurm-follower.js";
import { DEPENDENCY_UNMET, SlurmPlaces, unmetError } from "./slurm-places.js";
import { SlurmQueue } from "./slurm-queue.js";
import { waitsInSlurm } from "./slurm-request.js";
import { goneError, isLost, outcomeError, outputTail, type Gone } from "./slurm-ends.js";
import { SlurmSubmitter, type NewTask, type Placed, type Placement } from "./slurm-submitter.js";

const CANCEL_GATHER_MS = 100;

// Slurm looks at every one of them in every round.
const MOST_NEEDS = 1000;
const NEEDS_LOOK_MS = 1000;

export interface SlurmTasksOptions {
  config: Config;
  /** The shared one. */
  folder: string;
  /** Hears that Slurm does not answer. */
  onTrouble: (message: string) => void;
  /** Hears which jobs others can wait for in Slurm. */
  onPlaced: (job: string, isPlaced: boolean) => void;
}

export interface SlurmTaskOptions extends Omit<NewTask, "needs"> {
  /** The jobs that must succeed first and have not yet. */
  openDependencies: () => readonly string[];
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
  readonly #places: SlurmPlaces;
  readonly #closing = new AbortController();
  #cancelling: { ids: string[]; done: Promise<void> } | undefined;

  constructor({ config, folder, onTrouble, onPlaced }: SlurmTasksOptions) {
    const prefix = `kitty-kv-${orchestratorName(folder)}`;
    this.#submitter = new SlurmSubmitter({ config, folder, prefix, queue: this.queue, signal: this.#closing.signal });
    this.#follower = new SlurmFollower({ slurm: config.slurm, queue: this.queue, onTrouble });
    this.#places = new SlurmPlaces(waitsInSlurm(config.slurm) ? onPlaced : () => undefined);
  }

  /**
   * Runs a job in Slurm to its end, from wherever an earlier attempt left it. What is lost (a node that died, preemption,
   * a time limit that came too suddenly) is submitted again, as often as the job has attempts.
   * @throws what the task failed with; KittyError, `dependency_unmet` where it has to wait for others again; CancelledError
   *   once the signal fired
   */
  async run(options: SlurmTaskOptions): Promise<Extract<Outcome, { kind: "succeeded" }>> {
    const { job, folder, log } = options;
    for (let lost = 1; ; lost++) {
      const end = await this.#runOnce(options);
      if (end.kind === "outcome" && end.outcome.kind === "succeeded") return end.outcome;
      // The next attempt is a new submission.
      forgetTask(folder);
      if (end.kind === "outcome") throw outcomeError(end.outcome);
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
    if (known !== undefined && readOutcome(folder, known) !== undefined) {
      return this.#checkNeeds(await catchUp(known, options), known.folder, known.index);
    }
    const stopped = onAbort(signal);
    try {
      const placing = this.#place(options);
      const placement = await Promise.race([placing, stopped.promise]);
      if (placement === undefined) return await this.#giveUp(options, placing);
      options.log(`it is Slurm job ${placement.id} (${placement.batch})`);
      this.#places.set(options.job.id, placement);
      const following = this.#follower.follow(placement, folder, hooksOf(options));
      const end = await Promise.race([following, stopped.promise]);
      this.#places.remove(options.job.id, placement);
      if (end === undefined) return await this.#giveUp(options, Promise.resolve(placement));
      const known = end.kind === "gone" ? await this.#buryOne(placement, end, options.log) : end;
      return this.#checkNeeds(known, placement.batchFolder, placement.index);
    } finally {
      stopped.dispose();
    }
  }

  /** Where an earlier orchestrator left it, else where it is submitted now. */
  async #place(options: SlurmTaskOptions): Promise<Placement> {
    const { folder, log } = options;
    const known = readTask(folder);
    if (known === undefined || !existsSync(known.folder)) return await this.#submit(options);
    const { batch, index, folder: batchFolder } = known;
    const written = readSubmission(batchFolder);
    // It may have died between Slurm's answer and the note of it.
    const jobId = written?.jobId ?? (await this.#submitter.find(batch, log));
    if (jobId === undefined) return await this.#submit(options);
    log("found again in Slurm");
    const tasks = readTasks(batchFolder)?.length ?? 1;
    const id = tasks > 1 ? `${jobId}_${String(index)}` : jobId;
    return { jobId, submittedMs: written?.submittedMs ?? Date.now(), batch, batchFolder, index, tasks, id };
  }

  async #submit(options: SlurmTaskOptions): Promise<Placement> {
    const needs = await this.#needs(options);
    if (needs.length > 0) options.log(`waits in Slurm for ${listOf(needs)}`);
    try {
      return await this.#submitter.submit({ ...options, needs });
    } catch (error) {
      if (needs.length === 0 || !isAboutDependency(error)) throw error;
      for (const need of needs) this.#places.remove(need.job, need);
      throw unmetError(options.job.id, error.message);
    }
  }

  /** Where those are that must succeed first; waits until they are no more than Slurm can be asked to look at. */
  async #needs({ job, signal, openDependencies, log }: SlurmTaskOptions): Promise<Placed[]> {
    for (let isTold = false; ; isTold = true) {
      const open = openDependencies();
      if (open.length <= MOST_NEEDS || signal.aborted) return this.#places.all(open, job.id);
      if (!isTold)
        log(`waits here until at most ${String(MOST_NEEDS)} of its ${String(open.length)} dependencies are left`);
      await sleep(NEEDS_LOOK_MS);
    }
  }

  /** What was waited for in vain is not waited for in Slurm again, as long as it is where it was. */
  #checkNeeds(end: TaskEnd, batchFolder: string, index: number): TaskEnd {
    const isUnmet = end.kind === "gone" ? end.how === "unmet" : codeOf(end.outcome) === DEPENDENCY_UNMET;
    if (isUnmet) for (const need of readNeeds(batchFolder, index)) this.#places.remove(need.job, need);
    return end;
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

  async #buryOne({ id, batchFolder, index }: Placement, end: Gone, log: (line: string) => void): Promise<Gone> {
    const lines = outputTail(batchFolder, index, id.includes("_"));
    for (const line of lines) log(`| ${line}`);
    if (end.how === "hopeless" || end.how === "unmet") await this.#cancel(id);
    const missing = missingFile(lines.at(-1) ?? "");
    if (end.how !== "failed" || missing === undefined) return end;
    const found = `the compute node ${missing.node} does not have ${missing.file}`;
    return { kind: "gone", how: "not_on_nodes", found };
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
  const placement = { batch, batchFolder, index, tasks: 1, jobId: "", id: "", submittedMs: 0 };
  const task = new FollowedTask(placement, options.folder, hooksOf(options));
  task.readFiles();
  return task.ended;
}

function hooksOf({ begin, progress, log }: SlurmTaskOptions): TaskHooks {
  return { onBegin: begin, onProgress: progress, onLog: log };
}

function listOf(needs: readonly Placed[]): string {
  const named = needs.slice(0, 5).map(({ job, id }) => `job ${job} (${id})`);
  return [...named, ...(needs.length > 5 ? [`${String(needs.length - 5)} more`] : [])].join(", ");
}

function isAboutDependency(error: unknown): error is SlurmError {
  return error instanceof SlurmError && error.kind === "refused" && /dependency/i.test(String(error.details["reason"]));
}

function codeOf(outcome: Outcome): string | undefined {
  return "error" in outcome ? outcome.error.code : undefined;
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
