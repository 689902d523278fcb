import { abortable } from "../bridge/abortable.js";
import { WorkerBridge, type WorkerBridgeOptions } from "../bridge/worker-bridge.js";
import type { HeartbeatOptions } from "../bridge/heartbeat.js";
import { spawnChild, type Command } from "../process/child.js";
import type { StartWorkerOptions } from "./runner.js";

export interface WorkerLimits {
  heartbeat: HeartbeatOptions;
  /** How long a worker may take to say hello. */
  startTimeoutMs: number;
  /** Arguments of the worker that say how much its engine takes on. */
  engine: readonly string[];
}

/**
 * Starts a worker command, whatever it is wrapped in, and waits for its hello.
 * A worker that is late, or not wanted any more, is killed before this rejects.
 */
export async function launchWorker(
  command: Command,
  limits: WorkerLimits,
  { signal, onLog = () => undefined, exchange }: StartWorkerOptions & Pick<WorkerBridgeOptions, "exchange">,
): Promise<WorkerBridge> {
  const child = spawnChild(command, (text) => {
    onLog({ stream: "stderr", text });
  });
  const bridge = new WorkerBridge(child, { heartbeat: limits.heartbeat, onLog, exchange });
  const timer = setTimeout(() => {
    bridge.kill(`it did not say hello in ${String(limits.startTimeoutMs)} ms`);
  }, limits.startTimeoutMs);
  try {
    await abortable(bridge.hello, signal, "start a worker");
    return bridge;
  } catch (error) {
    bridge.kill("its start was cancelled");
    await bridge.exited;
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
