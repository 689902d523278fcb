import { readFileSync } from "node:fs";
import { KittyError } from "../errors.js";
import { describeExit, isOfFolder } from "../slurm/exit-code.js";
import type { SlurmEnd } from "../slurm/job-state.js";
import type { KnownJob } from "../slurm/squeue.js";
import { deferred } from "../util/deferred.js";
import { hasStarted, readOutcome, readProgress, taskFile, writeWhole, type Outcome } from "./slurm-files.js";
import { readFrom } from "./slurm-notices.js";
import type { Placement } from "./slurm-submitter.js";

// A shared file system shows a new file to other machines late: NFS after up to a minute, where it looked before.
const OUTCOME_DELAY_MS = 60_000;
// What was killed wrote none; what a node wrote in its last moment is seen soon.
const KILLED_DELAY_MS = 5000;

export interface TaskHooks {
  /** The task runs on a node. */
  onBegin: () => void;
  onProgress: (done: number, total: number) => void;
  /** Lines of the task, and how it fares in Slurm. */
  onLog: (line: string) => void;
}

/**
 * How a task ended: by what it left itself, else as Slurm says. `vanished` is known to nobody any more, `unmet` waited for
 * a task that did not succeed, `shared_folder` could not write there.
 */
export type TaskEnd =
  | { kind: "outcome"; outcome: Outcome }
  | {
      kind: "gone";
      how: SlurmEnd | "vanished" | "hopeless" | "unmet" | "shared_folder" | "not_on_nodes";
      found: string;
    };

/** One task of a submission, as far as it is known. */
export class FollowedTask {
  readonly placement: Placement;
  readonly ended: Promise<TaskEnd>;
  readonly #folder: string;
  readonly #hooks: TaskHooks;
  readonly #ended = deferred<TaskEnd>();
  #hasEnded = false;
  #hasBegun = false;
  #isNoticed = false;
  /** As far as it was seen; one that was never seen has not begun either, unless it left a note. */
  #isWaiting = true;
  #misses = 0;
  #told = "";
  #toldProgress = "";
  #logOffset: number;
  /** Slurm says that it is over, and since when we know. */
  #over: { job: KnownJob; sinceMs: number } | undefined;

  constructor(placement: Placement, folder: string, hooks: TaskHooks) {
    this.placement = placement;
    this.ended = this.#ended.promise;
    this.#folder = folder;
    this.#hooks = hooks;
    this.#logOffset = readOffset(this.#offsetFile);
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Whether its files are worth reading. */
  get isActive(): boolean {
    return this.#hasBegun || this.#isNoticed || this.#over !== undefined || this.#misses > 0;
  }

  /** From now on nobody is told anything. */
  stop(): void {
    this.#hasEnded = true;
  }

  /** A node wrote something. */
  notice(): void {
    this.#isNoticed = true;
  }

  /**
   * Takes in what Slurm says.
   * @returns whether it is news
   */
  update(job: KnownJob): boolean {
    if (this.#hasEnded) return false;
    this.#misses = 0;
    const { phase } = job.state;
    if (phase !== "ended") this.#over = undefined;
    else this.#over ??= { job, sinceMs: performance.now() };
    if (phase === "running") this.#begin();
    this.#isWaiting = phase === "pending";
    if (this.#isWaiting) this.#hasBegun = false;
    if (job.isUnmet) this.#end({ kind: "gone", how: "unmet", found: "a job that it needs did not succeed" });
    else if (job.reason?.isHopeless === true) this.#end({ kind: "gone", how: "hopeless", found: job.reason.text });
    return this.#tell(job);
  }

  /** Slurm's queue does not have it. */
  miss(): number {
    return ++this.#misses;
  }

  /**
   * Neither the queue nor accounting has it. Slurm keeps nothing of a task that is cancelled while it waits, where others of
   * its array go on.
   */
  vanish(isArrayKnown: boolean): void {
    if (isArrayKnown && this.#isWaiting && !hasStarted(this.#folder, this.placement)) {
      this.#end({ kind: "gone", how: "cancelled", found: "it was taken out of Slurm's queue while it waited" });
      return;
    }
    this.#end({ kind: "gone", how: "vanished", found: "Slurm does not know it any more, and it left no result" });
  }

  /** Takes in what the task wrote; what cannot be read now can be later. */
  readFiles(): void {
    if (this.#hasEnded) return;
    this.#readLog();
    const progress = readProgress(this.#folder, this.placement);
    if (progress !== undefined) this.#tellProgress(progress.done, progress.total);
    const outcome = readOutcome(this.#folder, this.placement);
    if (outcome !== undefined) {
      this.#begin();
      this.#readLog();
      this.#end({ kind: "outcome", outcome });
    } else this.#checkDeath();
  }

  /** Without an outcome it is over only once one would have been seen. */
  #checkDeath(): void {
    if (this.#over === undefined) return;
    const { job, sinceMs } = this.#over;
    const delayMs = job.state.end === "completed" ? OUTCOME_DELAY_MS : KILLED_DELAY_MS;
    if (performance.now() - sinceMs < delayMs) return;
    const exit = job.exit === undefined ? "" : `, ${describeExit(job.exit)}`;
    const where = job.nodes === null ? "" : ` on ${job.nodes}`;
    const found = `Slurm says ${job.state.name}${where}${exit}`;
    const isFolder = job.state.end === "failed" && job.exit !== undefined && isOfFolder(job.exit);
    this.#end({ kind: "gone", how: isFolder ? "shared_folder" : (job.state.end ?? "failed"), found });
  }

  #begin(): void {
    if (this.#hasBegun) return;
    this.#hasBegun = true;
    this.#hooks.onBegin();
  }

  #tell({ state, reason, start, nodes }: KnownJob): boolean {
    const when = start === undefined ? "" : `, expected to start at ${start.toISOString()}`;
    const where = nodes === null ? "" : ` on ${nodes}`;
    // An expected start moves all the time, and is no news by itself.
    const news = reason === null ? `${state.name}${where}` : `waits: ${reason.text}`;
    if (news === this.#told) return false;
    this.#told = news;
    this.#hooks.onLog(`Slurm job ${this.placement.id} ${reason === null ? `is ${news}` : `${news}${when}`}`);
    return true;
  }

  #tellProgress(done: number, total: number): void {
    const news = `${String(done)}/${String(total)}`;
    if (news === this.#toldProgress) return;
    this.#toldProgress = news;
    this.#begin();
    this.#hooks.onProgress(done, total);
  }

  get #offsetFile(): string {
    return `${taskFile(this.#folder, "log")}.offset`;
  }

  /**
   * By byte offset, which outlives this process; a task that was requeued goes on in the same file. A disk that is full just
   * now, or a log that cannot be read, keeps nobody from hearing how the task ended.
   */
  #readLog(): void {
    try {
      const text = readFrom(taskFile(this.#folder, "log"), this.#logOffset);
      if (text.length === 0) return;
      for (const line of text.toString("utf8").split("\n").slice(0, -1)) this.#hooks.onLog(line);
      this.#logOffset += text.length;
      writeWhole(this.#offsetFile, String(this.#logOffset));
    } catch (error) {
      if (!(error instanceof KittyError)) throw error;
    }
  }

  #end(end: TaskEnd): void {
    this.#hasEnded = true;
    this.#ended.resolve(end);
  }
}

function readOffset(path: string): number {
  try {
    return Number(readFileSync(path, "utf8")) || 0;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return 0;
    throw error;
  }
}
