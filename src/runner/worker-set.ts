import type { WorkerBridge } from "../bridge/worker-bridge.js";
import type { StartWorkerOptions } from "./runner.js";

const STOP_LIMITS = { graceMs: 5000, killAfterMs: 2000 };

/** The workers a runner has started, those that are still starting included, so that all of them can be stopped. */
export class WorkerSet {
  readonly #workers = new Set<Promise<WorkerBridge>>();
  #stopping = new AbortController();

  /** Keeps what `launch` starts; its signal also fires when the set is stopped. */
  async start(
    options: StartWorkerOptions,
    launch: (options: StartWorkerOptions) => Promise<WorkerBridge>,
  ): Promise<WorkerBridge> {
    const signals = [this.#stopping.signal, ...(options.signal === undefined ? [] : [options.signal])];
    const launching = launch({ ...options, signal: AbortSignal.any(signals) });
    this.#workers.add(launching);
    try {
      const worker = await launching;
      void worker.exited.then(() => this.#workers.delete(launching));
      return worker;
    } catch (error) {
      this.#workers.delete(launching);
      throw error;
    }
  }

  /** Resolves when all are gone. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#stopping = new AbortController();
    await Promise.all([...this.#workers].map(stopLaunched));
  }
}

async function stopLaunched(launching: Promise<WorkerBridge>): Promise<void> {
  // Whoever started a worker that failed has heard of it, and then there is nothing to stop.
  const worker = await launching.catch(() => undefined);
  await worker?.stop(STOP_LIMITS);
}
