import { pythoniaDir } from "../bridge/pythonia.js";
import type { WorkerBridge } from "../bridge/worker-bridge.js";
import type { Command } from "../process/child.js";
import { findPython } from "./find-python.js";
import { launchWorker, type WorkerLimits } from "./launch-worker.js";
import { packageRoot } from "./package-root.js";
import type { Runner, RunnerDescription, StartWorkerOptions } from "./runner.js";
import { workerEnvironment } from "./worker-environment.js";

const STOP_LIMITS = { graceMs: 5000, killAfterMs: 2000 };

export interface LocalRunnerOptions extends WorkerLimits {
  /** The Python executable; null finds it. */
  python: string | null;
}

/** Runs workers as child processes of this one. */
export class LocalRunner implements Runner {
  readonly #options: LocalRunnerOptions;
  readonly #workers = new Set<Promise<WorkerBridge>>();
  #stopping = new AbortController();

  constructor(options: LocalRunnerOptions) {
    this.#options = options;
  }

  async startWorker(options: StartWorkerOptions = {}): Promise<WorkerBridge> {
    const signals = [this.#stopping.signal, ...(options.signal === undefined ? [] : [options.signal])];
    const launching = launchWorker(this.#command(), this.#options, { ...options, signal: AbortSignal.any(signals) });
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

  describe(): RunnerDescription {
    const { file, args } = this.#command();
    return { name: "local", command: [file, ...args] };
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#stopping = new AbortController();
    await Promise.all([...this.#workers].map(stopLaunched));
  }

  #command(): Command {
    const root = packageRoot();
    return {
      file: findPython(this.#options.python, root),
      args: ["-m", "kitty_kv.worker", "--pythonia", pythoniaDir(), "--die-with-parent"],
      env: workerEnvironment(root, process.env),
    };
  }
}

async function stopLaunched(launching: Promise<WorkerBridge>): Promise<void> {
  // Whoever started a worker that failed has heard of it, and then there is nothing to stop.
  const worker = await launching.catch(() => undefined);
  await worker?.stop(STOP_LIMITS);
}
