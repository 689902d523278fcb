import { existsSync } from "node:fs";
import { resolve } from "node:path";
import type { Config } from "../config/schema.js";
import { ConfigError } from "../errors.js";
import { stateFolder } from "../util/state-folder.js";

/**
 * The configuration that a compute node works by: with absolute paths, as it has another working folder, and with the
 * runner that runs workers there.
 * @throws ConfigError `apptainer_not_configured`
 */
export function nodeConfig(config: Config): Config {
  const { apptainer, worker, slurm, model } = config;
  const { image, overlay } = apptainer;
  if (slurm.container === "apptainer" && (image === null || overlay === null)) {
    throw new ConfigError(
      "Cannot run on the cluster in containers: apptainer.image and apptainer.overlay must be set (docs/apptainer.md), or slurm.container: none",
      { code: "apptainer_not_configured" },
    );
  }
  return {
    ...config,
    runner: slurm.container === "apptainer" ? "apptainer" : "local",
    model: absoluteModel(model),
    apptainer: {
      ...apptainer,
      image: image === null ? null : resolve(image),
      overlay: overlay === null ? null : resolve(overlay),
      modelFolders: apptainer.modelFolders.map((folder) => resolve(folder)),
    },
    worker: { ...worker, python: absoluteProgram(worker.python) },
  };
}

/** A folder's absolute path; a hub id stays as it is. */
export function absoluteModel(model: string | null): string | null {
  return model !== null && existsSync(model) ? resolve(model) : model;
}

function absoluteProgram(python: string | null): string | null {
  return python?.includes("/") === true ? resolve(python) : python;
}

/** The folder that compute nodes see too, for the files of jobs and allocations. */
export function sharedFolder({ slurm, jobs }: Config): string {
  return resolve(slurm.folder ?? jobs.folder ?? stateFolder());
}
