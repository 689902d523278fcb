import type { Config } from "../config/schema.js";
import { UnsupportedError } from "../errors.js";
import { LocalRunner } from "../runner/local-runner.js";
import type { Runner } from "../runner/runner.js";

/** @throws UnsupportedError for a runner whose name is known but which this version does not have */
export function createRunner(config: Config): Runner {
  if (config.runner !== "local") {
    throw new UnsupportedError(
      `Cannot use runner ${JSON.stringify(config.runner)}: this version only has "local", set runner: local`,
      {
        details: { runner: config.runner, supported: ["local"] },
      },
    );
  }
  const { python, startTimeoutMs, heartbeatIntervalMs, heartbeatTimeoutMs, stepTimeoutMs } = config.worker;
  const heartbeat = { intervalMs: heartbeatIntervalMs, timeoutMs: heartbeatTimeoutMs, stepTimeoutMs };
  return new LocalRunner({ python, startTimeoutMs, heartbeat });
}
