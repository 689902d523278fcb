import { join } from "node:path";
import type { Config } from "../../config/schema.js";
import { parseJobSpec, type JobSpec } from "../../job/job-spec.js";
import { BATCH_FILES } from "../../runner/slurm-files.js";
import { sharedFolder } from "../../runner/slurm-node-config.js";
import { needsOf, taskScript, waitsInSlurm, type Needs } from "../../runner/slurm-request.js";
import { singleJobs } from "./check-job.js";

export interface SlurmPreview {
  script: string;
  /** How many jobs it runs, as an array where there are several. */
  tasks: number;
}

/**
 * The scripts that a job would be submitted with: one, or one for each kind of resources that a sweep's children need.
 * @throws ConfigError
 */
export function previewSlurm(input: unknown, config: Config): SlurmPreview[] {
  const attempt = "print what would be submitted";
  const spec = parseJobSpec(input, attempt);
  const groups = groupByNeeds(singleJobs(spec), config.slurm);
  const folder = join(sharedFolder(config), "slurm", "NAME");
  return groups.map(({ needs, count }) => {
    const array = count === 1 ? undefined : { count, parallel: config.slurm.arrayParallel };
    const outputFile = array === undefined ? BATCH_FILES.output : BATCH_FILES.arrayOutput;
    const named = { name: "kitty-kv-NAME", comment: "kitty-kv-NAME", folder, outputFile };
    const placed = { ...named, array, dependency: dependencyOf(spec, config.slurm) };
    return { script: taskScript(config.slurm, needs, { ...placed, isRequeued: true }), tasks: count };
  });
}

/** The numbers are known once the jobs that it depends on are in Slurm. */
function dependencyOf({ dependsOn }: JobSpec, slurm: Config["slurm"]): string | undefined {
  if (dependsOn.length === 0 || !waitsInSlurm(slurm)) return undefined;
  return ["afterok", ...dependsOn.map((id) => `NUMBER_OF_${id}`)].join(":");
}

function groupByNeeds(specs: readonly JobSpec[], slurm: Config["slurm"]): { needs: Needs; count: number }[] {
  const groups = new Map<string, { needs: Needs; count: number }>();
  for (const spec of specs) {
    const needs = needsOf(slurm, spec);
    const key = JSON.stringify(needs);
    groups.set(key, { needs, count: (groups.get(key)?.count ?? 0) + 1 });
  }
  return [...groups.values()];
}
