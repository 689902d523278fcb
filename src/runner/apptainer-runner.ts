import { InstanceLog } from "../apptainer/instance-log.js";
import { instancePlace } from "../apptainer/instance-record.js";
import { SCRATCH } from "../apptainer/instance-arguments.js";
import { checkSettings, type CheckedSettings, type InstanceSettings } from "../apptainer/instance-settings.js";
import { listInstances, type Instance } from "../apptainer/list-instances.js";
import { startInstance } from "../apptainer/start-instance.js";
import { discardInstance } from "../apptainer/stop-instance.js";
import type { WorkerBridge } from "../bridge/worker-bridge.js";
import { instanceWorkerCommand, programFolders } from "./instance-worker.js";
import { launchWorker, type WorkerLimits } from "./launch-worker.js";
import type { Runner, RunnerDescription, StartWorkerOptions } from "./runner.js";
import { prepareOverlay } from "./start-instances.js";
import { WorkerSet } from "./worker-set.js";

export interface ApptainerRunnerOptions extends WorkerLimits {
  settings: Omit<InstanceSettings, "visibleDevices">;
  /** The shares of the machine's GPUs, as CUDA_VISIBLE_DEVICES names them; none is all of them to everyone. */
  gpus: readonly string[];
  /** The Python executable as instances see it; null is the overlay's. */
  python: string | null;
  /** The `apptainer` program. @default KITTY_KV_APPTAINER, else `apptainer` on PATH */
  program?: string | undefined;
}

interface Seat {
  name: string;
  visibleDevices: string | null;
  /** Whether it was started here, and so ends with its worker. */
  isOwned: boolean;
}

/** Runs each worker in an Apptainer instance: one that stands ready, else a new one that ends with its worker. */
export class ApptainerRunner implements Runner {
  readonly #options: ApptainerRunnerOptions;
  readonly #workers = new WorkerSet();
  readonly #seats = new Set<Seat>();
  readonly #cleanups = new Set<Promise<void>>();

  constructor(options: ApptainerRunnerOptions) {
    this.#options = options;
  }

  startWorker(options: StartWorkerOptions = {}): Promise<WorkerBridge> {
    return this.#workers.start(options, (withSignal) => this.#startWorker(withSignal));
  }

  describe(): RunnerDescription {
    checkSettings(this.#options.settings);
    const { file, args } = instanceWorkerCommand({ name: "NAME", visibleDevices: null }, this.#options);
    return { name: "apptainer", command: [file, ...args] };
  }

  async stop(): Promise<void> {
    await this.#workers.stop();
    await Promise.all(this.#cleanups);
  }

  async #startWorker(options: StartWorkerOptions): Promise<WorkerBridge> {
    const settings = checkSettings(this.#options.settings);
    const seat = await this.#takeSeat(settings, options);
    const log = new InstanceLog(seat.name);
    const exchange = { host: instancePlace(seat.name).scratch, inside: SCRATCH };
    const onLog: StartWorkerOptions["onLog"] = (entry) => {
      log.write(entry.text);
      options.onLog?.(entry);
    };
    try {
      const worker = await launchWorker(instanceWorkerCommand(seat, this.#options), this.#options, {
        ...options,
        onLog,
        exchange,
      });
      void worker.exited.then(({ message }) => {
        log.write(message);
        this.#leave(seat);
      });
      return worker;
    } catch (error) {
      this.#leave(seat);
      throw error;
    }
  }

  async #takeSeat(settings: CheckedSettings, { signal }: StartWorkerOptions): Promise<Seat> {
    const { program } = this.#options;
    await using lease = await prepareOverlay(settings, { signal, program });
    const ready = (await listInstances()).find((instance) => this.#fits(instance, settings));
    if (ready !== undefined) return this.#addSeat(ready, false);
    const visibleDevices = this.#leastUsedShare();
    const stop = signal === undefined ? lease.lost : AbortSignal.any([signal, lease.lost]);
    const wanted = { ...settings, visibleDevices };
    const started = await startInstance(wanted, { signal: stop, program, programs: programFolders(), isOwned: true });
    return this.#addSeat(started, true);
  }

  #addSeat({ name, visibleDevices }: Pick<Seat, "name" | "visibleDevices">, isOwned: boolean): Seat {
    const seat = { name, visibleDevices, isOwned };
    this.#seats.add(seat);
    return seat;
  }

  /** One that `instance start` left running, with all this worker needs and nothing it must not see. */
  #fits(instance: Instance, settings: CheckedSettings): boolean {
    const { state, owner, name, modelFolders } = instance;
    if (state !== "ready" || owner !== null || [...this.#seats].some((seat) => seat.name === name)) return false;
    const keys = ["image", "overlay", "hasNvidia", "network", "memoryMiB", "cpus"] as const;
    const isShare = this.#options.gpus.length === 0 || this.#options.gpus.includes(instance.visibleDevices ?? "");
    const sameFolders = modelFolders.length === settings.modelFolders.length;
    return (
      isShare &&
      sameFolders &&
      settings.modelFolders.every((folder) => modelFolders.includes(folder)) &&
      keys.every((key) => instance[key] === settings[key])
    );
  }

  #leastUsedShare(): string | null {
    const uses = (share: string): number =>
      [...this.#seats].filter(({ visibleDevices }) => visibleDevices === share).length;
    return [...this.#options.gpus].sort((a, b) => uses(a) - uses(b))[0] ?? null;
  }

  #leave(seat: Seat): void {
    this.#seats.delete(seat);
    if (!seat.isOwned) return;
    const { program } = this.#options;
    const cleanup = discardInstance(seat.name, { program }).finally(() => this.#cleanups.delete(cleanup));
    // stop() hears of what fails; until then the instance stays listed, as orphaned once this process ends.
    cleanup.catch(() => undefined);
    this.#cleanups.add(cleanup);
  }
}
