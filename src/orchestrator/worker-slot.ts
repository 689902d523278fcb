import { abortable } from "../bridge/abortable.js";
import type { WorkerLog } from "../bridge/worker-bridge.js";
import { WorkerClient } from "../bridge/worker-client.js";
import type { Runner } from "../runner/runner.js";

/** The one worker that sessions share; after a crash the next caller gets a new one. */
export class WorkerSlot {
  readonly #runner: Runner;
  readonly #onLog: (log: WorkerLog) => void;
  #worker: Promise<WorkerClient> | undefined;

  constructor(runner: Runner, onLog: (log: WorkerLog) => void) {
    this.#runner = runner;
    this.#onLog = onLog;
  }

  /** The running worker, or a new one; an aborted signal stops the waiting, not the worker others wait for. */
  worker(signal: AbortSignal | undefined): Promise<WorkerClient> {
    this.#worker ??= this.#start();
    return abortable(this.#worker, signal, "start a worker");
  }

  async #start(): Promise<WorkerClient> {
    try {
      const bridge = await this.#runner.startWorker({ onLog: this.#onLog });
      void bridge.exited.then(() => {
        this.#worker = undefined;
      });
      return new WorkerClient(bridge);
    } catch (error) {
      this.#worker = undefined;
      throw error;
    }
  }
}
