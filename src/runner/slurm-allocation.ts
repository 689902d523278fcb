import { randomBytes } from "node:crypto";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Config } from "../config/schema.js";
import { CancelledError, KittyError } from "../errors.js";
import { batchScript } from "../slurm/batch-script.js";
import { SlurmError } from "../slurm/run-slurm.js";
import { sbatch } from "../slurm/sbatch.js";
import { scancel } from "../slurm/scancel.js";
import type { KnownJob } from "../slurm/squeue.js";
import { isSubmission, type SlurmQueue } from "./slurm-queue.js";
import { needsOf } from "./slurm-request.js";
import { writeWhole } from "./slurm-files.js";

const FIRST_LOOK_MS = 100;
const LAST_LOOK_MS = 5000;
const BEAT_MS = 5000;
// Longer than a shared file system may hide a change, shorter than anybody would want to lose a node for.
const SILENCE_S = 90;

/** Holds the nodes until it is cancelled, or until the one who asked for them has been silent for so long. */
const HOLD = `silent=0
last=
while [ "$silent" -lt "$1" ]; do
  sleep 5
  now=$(cat alive 2>/dev/null)
  if [ "$now" = "$last" ]; then silent=$((silent + 5)); else silent=0; fi
  last=$now
done`;

export interface AllocationOptions {
  slurm: Config["slurm"];
  /** The shared one. */
  folder: string;
  queue: SlurmQueue;
  signal: AbortSignal | undefined;
  /** Hears how it fares in the queue. */
  onStatus: (line: string) => void;
}

/** Nodes that are ours for a while, for any number of `srun` steps. */
export class SlurmAllocation {
  readonly jobId: string;
  /** On the shared file system. */
  readonly folder: string;
  readonly #name: string;
  readonly #queue: SlurmQueue;
  readonly #beat: NodeJS.Timeout;
  #released: Promise<void> | undefined;

  private constructor(jobId: string, name: string, folder: string, queue: SlurmQueue) {
    this.jobId = jobId;
    this.folder = folder;
    this.#name = name;
    this.#queue = queue;
    this.#beat = setInterval(() => {
      this.#tellAlive();
    }, BEAT_MS);
    this.#beat.unref();
  }

  /**
   * Asks for nodes and waits until they are there.
   * @throws SlurmError when the site refuses; CancelledError when the signal fires, and nothing is left in the queue
   */
  static async make(options: AllocationOptions): Promise<SlurmAllocation> {
    const { slurm, queue, signal, onStatus } = options;
    const name = `kitty-kv-session-${randomBytes(4).toString("hex")}`;
    const folder = join(options.folder, "slurm", name);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const placed = { name, comment: name, folder, outputFile: "out.txt", isRequeued: false };
    const request = { ...needsOf(slurm), ...placed, signalSeconds: null };
    const command = ["bash", "-c", HOLD, "hold", String(SILENCE_S)];
    const script = join(folder, "script.sh");
    let made: SlurmAllocation | undefined;
    try {
      writeWhole(script, batchScript({ request, command, setup: [], teardown: [] }));
      const { jobId } = await sbatch(script, "ask for an allocation", { signal });
      made = new SlurmAllocation(jobId, name, folder, queue);
      await made.#wait(signal, onStatus);
      return made;
    } catch (error) {
      // It may be in the queue although nobody told us its number.
      await (made === undefined ? scancel([`--name=${name}`, "--quiet"]) : made.release()).catch(() => undefined);
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** Whether it still stands, as far as Slurm answers. */
  async isStanding(): Promise<boolean> {
    const job = await this.#look();
    return job === undefined || job.state.name === "RUNNING";
  }

  /** Gives it back; steps in it end. */
  release(): Promise<void> {
    this.#released ??= this.#release();
    return this.#released;
  }

  async #release(): Promise<void> {
    clearInterval(this.#beat);
    await scancel([this.jobId]);
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #wait(signal: AbortSignal | undefined, onStatus: (line: string) => void): Promise<void> {
    let told = "";
    for (let waitMs = FIRST_LOOK_MS; ; waitMs = Math.min(waitMs * 1.5, LAST_LOOK_MS)) {
      await sleep(waitMs, undefined, signal === undefined ? {} : { signal }).catch(() => {
        throw new CancelledError("Cannot wait for an allocation: it was interrupted");
      });
      const job = await this.#look();
      if (job?.state.name === "RUNNING") {
        onStatus(`Slurm job ${this.jobId} has ${job.nodes ?? "its nodes"}`);
        return;
      }
      if (job?.state.phase === "ended") throw this.#endError(`Slurm says ${job.state.name}`);
      if (job?.reason?.isHopeless === true) throw this.#endError(job.reason.text);
      const when = job?.start === undefined ? "" : `, expected to start at ${job.start.toISOString()}`;
      const news = job?.reason?.text ?? job?.state.name ?? "";
      if (news !== told && news !== "") onStatus(`Slurm job ${this.jobId}: ${news}${when}`);
      told = news;
    }
  }

  #endError(found: string): KittyError {
    return new KittyError(`Cannot get an allocation: ${found}; ask for less or for another partition under slurm`, {
      code: "slurm_refused",
      details: { jobId: this.jobId },
    });
  }

  /** @returns undefined while Slurm does not answer */
  async #look(): Promise<KnownJob | undefined> {
    try {
      return (await this.#queue.look()).find((job) => job.id === this.jobId && isSubmission(job, this.#name));
    } catch (error) {
      if (error instanceof SlurmError) return undefined;
      throw error;
    }
  }

  #tellAlive(): void {
    try {
      writeWhole(join(this.folder, "alive"), String(Date.now()));
    } catch (error) {
      // A full disk for a moment; the allocation is patient.
      if (!(error instanceof KittyError)) throw error;
    }
  }
}
