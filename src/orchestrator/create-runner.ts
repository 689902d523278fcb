import { statSync } from "node:fs";
import type { Config } from "../config/schema.js";
import { ConfigError } from "../errors.js";
import { ApptainerRunner } from "../runner/apptainer-runner.js";
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
      return new ApptainerRunner({ ...limits, python, ...apptainerOptions(config) });
    case "slurm":
      // Refused now, not when an allocation has been waited for.
      nodeConfig(config);
      return new SlurmRunner(config, sharedFolder(config));
  }
}

function apptainerOptions({ apptainer, model }: Config) {
  const { image, overlay, modelFolders, nvidia, gpus, network, memoryMiB, cpus } = apptainer;
  if (image === null || overlay === null) {
    const missing = [image === null ? "image" : "", overlay === null ? "overlay" : ""].filter((name) => name !== "");
    throw new ConfigError(
      `Cannot use runner "apptainer": apptainer.${missing.join(" and apptainer.")} must be set, make them with "kitty-kv image build" and "kitty-kv overlay create", "provision" and "seal"`,
      { code: "apptainer_not_configured", details: { missing } },
    );
  }
  // The configured model's folder need not be listed as well; a hub id is none.
  const isFolder = model !== null && statSync(model, { throwIfNoEntry: false })?.isDirectory() === true;
  const folders = isFolder ? [...modelFolders, model] : modelFolders;
  return {
    settings: { image, overlay, modelFolders: folders, hasNvidia: nvidia, network, memoryMiB, cpus },
    gpus,
  };
}
