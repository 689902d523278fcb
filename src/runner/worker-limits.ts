import type { Config } from "../config/schema.js";
import type { WorkerLimits } from "./launch-worker.js";

/** How long a worker may take for what, and how much it takes on, as the configuration says. */
export function workerLimits(worker: Config["worker"]): WorkerLimits {
  const { startTimeoutMs, heartbeatIntervalMs, heartbeatTimeoutMs, stepTimeoutMs } = worker;
  const heartbeat = { intervalMs: heartbeatIntervalMs, timeoutMs: heartbeatTimeoutMs, stepTimeoutMs };
  const engine = ["--max-batch", String(worker.maxBatch), "--max-waiting", String(worker.maxWaiting)];
  return { startTimeoutMs, heartbeat, engine };
}
