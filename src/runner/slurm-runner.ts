import { join } from "node:path";
import { checkSettings, type CheckedSettings } from "../apptainer/instance-settings.js";
import type { OverlayLease } from "../apptainer/overlay-lease.js";
import type { WorkerBridge } from "../bridge/worker-bridge.js";
import type { Config } from "../config/schema.js";
import { KittyError } from "../errors.js";
import { scancel } from "../slurm/scancel.js";
import { runningSteps } from "../slurm/steps.js";
import { containerSettings } from "./container-settings.js";
import { launchWorker } from "./launch-worker.js";
import type { Runner, RunnerDescription, StartWorkerOptions } from "./runner.js";
import { SlurmAllocation } from "./slurm-allocation.js";
import { nodeConfig } from "./slurm-node-config.js";
import { SlurmQueue } from "./slurm-queue.js";
import { slurmExchange, slurmWorkerCommand } from "./slurm-worker.js";
import { prepareOverlay } from "./start-instances.js";
import { workerLimits } from "./worker-limits.js";
import { WorkerSet } from "./worker-set.js";

/** An allocation, asked for or there, and how many workers it has. */
interface Place {
  allocation: Promise<SlurmAllocation>;
  lease: OverlayLease | undefined;
  workers: number;
  idleTimer?: NodeJS.Timeout | undefined;
}

/** Runs each worker as a step in an allocation, which several share and which is given back when it stands idle. */
export class SlurmRunner implements Runner {
  readonly #config: Config;
  readonly #folder: string;
  readonly #queue = new SlurmQueue();
  readonly #workers = new WorkerSet();
  readonly #places = new Set<Place>();
  #count = 0;

  /** @param folder the shared one */
  constructor(config: Config, folder: string) {
    this.#config = config;
    this.#folder = folder;
  }

  startWorker(options: StartWorkerOptions = {}): Promise<WorkerBridge> {
    return this.#workers.start(options, (withSignal) => this.#startWorker(withSignal));
  }

  describe(): RunnerDescription {
    const place = { jobId: "JOB", name: "STEP", scratch: join(this.#folder, "SCRATCH") };
    const { file, args } = slurmWorkerCommand(this.#config, this.#container(), place);
    return { name: "slurm", command: [file, ...args] };
  }

  async stop(): Promise<void> {
    await this.#workers.stop();
    await Promise.all([...this.#places].map((place) => this.#release(place)));
  }

  async #startWorker(options: StartWorkerOptions): Promise<WorkerBridge> {
    const container = this.#container();
    const place = await this.#takePlace(container, options);
    try {
      const { jobId, folder } = await place.allocation;
      const name = `worker-${String(++this.#count)}`;
      const scratch = join(folder, `scratch-${name}`);
      const exchange = container === null ? undefined : slurmExchange(scratch);
      const command = slurmWorkerCommand(this.#config, container, { jobId, name, scratch });
      const worker = await launchWorker(command, workerLimits(this.#config.worker), { ...options, exchange });
      void worker.exited.then(async ({ signal }) => {
        // A srun that was killed leaves its step behind, with all the memory that it has.
        if (signal === "SIGKILL") await cancelStep(jobId, name);
        this.#leave(place);
      });
      return worker;
    } catch (error) {
      this.#leave(place);
      throw error;
    }
  }

  async #takePlace(container: CheckedSettings | null, options: StartWorkerOptions): Promise<Place> {
    const { workersPerAllocation } = this.#config.slurm;
    for (const place of this.#places) {
      if (place.workers >= workersPerAllocation) continue;
      place.workers += 1;
      clearTimeout(place.idleTimer);
      if (await stands(place)) return place;
      // Its time was over, or somebody cancelled it.
      await this.#release(place);
    }
    return await this.#addPlace(container, options);
  }

  async #addPlace(container: CheckedSettings | null, { signal, onLog }: StartWorkerOptions): Promise<Place> {
    const lease = container === null ? undefined : await prepareOverlay(container, { signal });
    const allocation = SlurmAllocation.make({
      ...{ slurm: this.#config.slurm, folder: this.#folder, queue: this.#queue, signal },
      onStatus: (text) => onLog?.({ stream: "runner", text }),
    });
    const place: Place = { allocation, lease, workers: 1 };
    this.#places.add(place);
    try {
      await allocation;
      return place;
    } catch (error) {
      this.#places.delete(place);
      await lease?.release();
      throw error;
    }
  }

  #leave(place: Place): void {
    place.workers -= 1;
    if (place.workers > 0) return;
    place.idleTimer = setTimeout(() => {
      // Should Slurm not answer now, the allocation ends by itself when it hears nothing of us any more.
      this.#release(place).catch(() => undefined);
    }, this.#config.slurm.idleTimeoutMs);
    place.idleTimer.unref();
  }

  async #release(place: Place): Promise<void> {
    clearTimeout(place.idleTimer);
    this.#places.delete(place);
    try {
      await (await place.allocation.catch(() => undefined))?.release();
    } finally {
      await place.lease?.release();
    }
  }

  #container(): CheckedSettings | null {
    const config = nodeConfig(this.#config);
    if (config.runner !== "apptainer") return null;
    const { hasNvidia = false, ...settings } = containerSettings(config);
    // This machine need not have the GPUs, nor keep the limits: Slurm does both.
    return { ...checkSettings({ ...settings, memoryMiB: null, cpus: null }), hasNvidia };
  }
}

/** Where Slurm does not answer, the step ends with its allocation. */
async function cancelStep(jobId: string, name: string): Promise<void> {
  try {
    const steps = await runningSteps(jobId);
    await scancel(steps.filter((step) => step.name === name).map(({ id }) => id));
  } catch (error) {
    if (!(error instanceof KittyError)) throw error;
  }
}

async function stands({ allocation }: Place): Promise<boolean> {
  const made = await allocation.catch(() => undefined);
  return made !== undefined && (await made.isStanding());
}
