import type { Config } from "../config/schema.js";
import { ApptainerRunner } from "../runner/apptainer-runner.js";
import { containerSettings } from "../runner/container-settings.js";
import { LocalRunner } from "../runner/local-runner.js";
import type { Runner } from "../runner/runner.js";
import { SlurmRunner } from "../runner/slurm-runner.js";
import { nodeConfig, sharedFolder } from "../runner/slurm-node-config.js";
import { workerLimits } from "../runner/worker-limits.js";

/** @throws ConfigError for a runner whose settings are missing */
export function createRunner(config: Config): Runner {
  const { python } = config.worker;
  const limits = workerLimits(config.worker);
  switch (config.runner) {
    case "local":
      return new LocalRunner({ ...limits, python });
    case "apptainer":
      return new ApptainerRunner({
        ...limits,
        ...{ python, settings: containerSettings(config), gpus: config.apptainer.gpus },
      });
    case "slurm":
      // Refused now, not when an allocation has been waited for.
      nodeConfig(config);
      return new SlurmRunner(config, sharedFolder(config));
  }
}
