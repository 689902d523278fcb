import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Config } from "../config/schema.js";
import { ConfigError, NotFoundError } from "../errors.js";
import type { JobSpec } from "../job/job-spec.js";
import { SlurmError } from "../slurm/run-slurm.js";
import { testSubmission } from "../slurm/sbatch.js";
import { sinfo } from "../slurm/sinfo.js";
import type { NodeSight } from "./node-sight.js";
import { sharedFolderError, writeWhole } from "./slurm-files.js";
import { nodeConfig, sharedFolder } from "./slurm-node-config.js";
import { needsOf, taskScript, type Needs } from "./slurm-request.js";
import { isPassing } from "./slurm-submitter.js";

/**
 * Asks the site whether it would take these jobs, and submits none of them. A site that does not answer now is asked again
 * when the jobs' turn comes.
 * @param sight tries whether nodes see what jobs need, where that is not known
 * @throws ConfigError `slurm_refused` with the site's own message, `not_on_nodes`; NotFoundError `slurm_not_found`, `file_not_found`;
 *   KittyError `shared_folder`, `disk_full`
 */
export async function checkOnSlurm(
  config: Config,
  specs: readonly Pick<JobSpec, "resources" | "priority">[],
  sight?: NodeSight,
): Promise<void> {
  checkFiles(config);
  const distinct = new Map(
    specs.map((spec) => [JSON.stringify(needsOf(config.slurm, spec)), needsOf(config.slurm, spec)]),
  );
  const folder = mkdtempSync(join(tmpdir(), "kitty-kv-slurm-"));
  try {
    for (const needs of distinct.values()) {
      await checkNeeds(config, needs, join(folder, "script.sh"));
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  await sight?.check(config);
}

async function checkNeeds(config: Config, needs: Needs, script: string): Promise<void> {
  const placed = {
    name: "kitty-kv-check",
    comment: "kitty-kv-check",
    folder: sharedFolder(config),
    outputFile: "/dev/null",
  };
  writeWhole(script, taskScript(config.slurm, needs, { ...placed, array: undefined, isRequeued: true }));
  const purpose = "submit this job";
  try {
    await testSubmission(script, purpose);
    await checkTime(needs, purpose);
  } catch (error) {
    if (isPassing(error)) return;
    if (!(error instanceof SlurmError)) throw error;
    throw new ConfigError(error.message, { code: error.code, details: error.details, cause: error });
  }
}

/** Most sites take a job whose time is over the partition's, and then never start it. */
async function checkTime({ partition: wanted, timeLimitMinutes }: Needs, purpose: string): Promise<void> {
  if (timeLimitMinutes === null) return;
  const { partitions } = await sinfo(purpose);
  // Several may be named; one that gives the time is enough.
  const names = wanted?.split(",");
  const possible = partitions.filter(({ name, isDefault }) => names?.includes(name) ?? isDefault);
  const limits = possible.map((partition) => partition.timeLimitMinutes ?? Infinity);
  const longest = Math.max(...limits);
  if (limits.length === 0 || timeLimitMinutes <= longest) return;
  throw new ConfigError(
    `Cannot ${purpose}: its time limit is ${String(timeLimitMinutes)} minutes, the partition ${possible.map(({ name }) => name).join(",")} gives ${String(longest)}; set resources.timeLimitMinutes or slurm.timeLimitMinutes lower, or choose another partition`,
    { code: "slurm_refused", details: { timeLimitMinutes, partitionMinutes: longest, partition: wanted } },
  );
}

function checkFiles(config: Config): void {
  const { apptainer, runner } = nodeConfig(config);
  const files = runner === "apptainer" ? [apptainer.image, apptainer.overlay] : [];
  for (const file of files) {
    if (file === null || existsSync(file)) continue;
    throw new NotFoundError(
      `Cannot submit this job: there is no ${JSON.stringify(file)}, which it runs in; make it in a folder that compute nodes see (docs/apptainer.md)`,
      { code: "file_not_found", details: { path: file } },
    );
  }
  const folder = sharedFolder(config);
  const probe = join(folder, `.kitty-kv-probe-${String(process.pid)}`);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw sharedFolderError(folder, cause as NodeJS.ErrnoException);
  }
  writeWhole(probe, "probe\n", true);
  rmSync(probe, { force: true });
}
