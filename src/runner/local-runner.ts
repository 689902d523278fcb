import { pythoniaDir } from "../bridge/pythonia.js";
import type { WorkerBridge } from "../bridge/worker-bridge.js";
import type { Command } from "../process/child.js";
import { findPython } from "./find-python.js";
import { launchWorker, type WorkerLimits } from "./launch-worker.js";
import { packageRoot } from "./package-root.js";
import type { Runner, RunnerDescription, StartWorkerOptions } from "./runner.js";
import { workerEnvironment } from "./worker-environment.js";
import { WorkerSet } from "./worker-set.js";

export interface LocalRunnerOptions extends WorkerLimits {
  /** The Python executable; null finds it. */
  python: string | null;
}

/** Runs workers as child processes of this one. */
export class LocalRunner implements Runner {
  readonly #options: LocalRunnerOptions;
  readonly #workers = new WorkerSet();

  constructor(options: LocalRunnerOptions) {
    this.#options = options;
  }

  startWorker(options: StartWorkerOptions = {}): Promise<WorkerBridge> {
    return this.#workers.start(options, async (withSignal) => launchWorker(this.#command(), this.#options, withSignal));
  }

  describe(): RunnerDescription {
    const { file, args } = this.#command();
    return { name: "local", command: [file, ...args] };
  }

  stop(): Promise<void> {
    return this.#workers.stop();
  }

  #command(): Command {
    const root = packageRoot();
    return {
      file: findPython(this.#options.python, root),
      args: ["-m", "kitty_kv.worker", "--pythonia", pythoniaDir(), "--die-with-parent", ...this.#options.engine],
      env: workerEnvironment(root, process.env),
    };
  }
}
