import { join } from "node:path";
import type { Config } from "../../config/schema.js";
import { sharedFolder } from "../../runner/slurm-node-config.js";
import { stateFolder } from "../../util/state-folder.js";

/** Where the store of jobs lies; it may be on a disk of this machine alone. */
export function storeFolder({ jobs }: Config): string {
  return jobs.folder ?? stateFolder();
}

/** Where the folders of all jobs lie, which on a cluster its nodes see too. */
export function jobsFolder(config: Config): string {
  return join(config.runner === "slurm" ? sharedFolder(config) : storeFolder(config), "jobs");
}
