import type { Config } from "../config/schema.js";
import type { WorkerLimits } from "./launch-worker.js";

/** How long a worker may take for what, as the configuration says. */
export function workerLimits(worker: Config["worker"]): WorkerLimits {
  const { startTimeoutMs, heartbeatIntervalMs, heartbeatTimeoutMs, stepTimeoutMs } = worker;
  const heartbeat = { intervalMs: heartbeatIntervalMs, timeoutMs: heartbeatTimeoutMs, stepTimeoutMs };
  return { startTimeoutMs, heartbeat };
}
