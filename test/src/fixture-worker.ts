import { fileURLToPath } from "node:url";
import { WorkerClient } from "../../src/bridge/worker-client.js";
import { pythoniaDir } from "../../src/bridge/pythonia.js";
import type { WorkerLog } from "../../src/bridge/worker-bridge.js";
import { launchWorker, type WorkerLimits } from "../../src/runner/launch-worker.js";

export const LIMITS: WorkerLimits = {
  heartbeat: { intervalMs: 1000, timeoutMs: 10_000, stepTimeoutMs: 10_000 },
  startTimeoutMs: 20_000,
  engine: [],
};

export interface FixtureWorker extends AsyncDisposable {
  client: WorkerClient;
  logs: WorkerLog[];
}

/** The path of an executable in test/fixtures/workers. */
export function fixturePath(name: string): string {
  return fileURLToPath(new URL(`../fixtures/workers/${name}.py`, import.meta.url));
}

/** Starts a fixture as a worker of its own; disposing kills it. */
export async function startFixture(
  name: string,
  args: readonly string[] = [],
  limits: Partial<WorkerLimits> = {},
): Promise<FixtureWorker> {
  const logs: WorkerLog[] = [];
  const command = {
    file: fixturePath(name),
    args: name === "good_worker" ? ["--pythonia", pythoniaDir()] : args,
    env: { PATH: process.env["PATH"] ?? "" },
  };
  const bridge = await launchWorker(command, { ...LIMITS, ...limits }, { onLog: (log) => logs.push(log) });
  return {
    client: new WorkerClient(bridge),
    logs,
    [Symbol.asyncDispose]: async () => {
      bridge.kill("the test is over");
      await bridge.exited;
    },
  };
}
