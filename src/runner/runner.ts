import type { WorkerBridge, WorkerLog } from "../bridge/worker-bridge.js";

export interface RunnerDescription {
  name: "local" | "apptainer" | "slurm";
  /** The program and arguments that a worker is started with. */
  command: readonly string[];
}

export interface StartWorkerOptions {
  signal?: AbortSignal | undefined;
  onLog?: ((log: WorkerLog) => void) | undefined;
}

/** Where workers run. */
export interface Runner {
  /** Starts one worker and resolves when it said hello. */
  startWorker(options?: StartWorkerOptions): Promise<WorkerBridge>;

  /** Tells how a worker would be started, without starting one, and throws what starting would throw. */
  describe(): RunnerDescription;

  /** Stops every worker that was started here and resolves when all are gone. */
  stop(): Promise<void>;
}
