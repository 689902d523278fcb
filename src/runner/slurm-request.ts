import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Config } from "../config/schema.js";
import { ConfigError } from "../errors.js";
import type { JobSpec } from "../job/job-spec.js";
import { batchScript } from "../slurm/batch-script.js";
import type { SlurmRequest } from "../slurm/directives.js";
import { packageRoot } from "./package-root.js";

export { INTERRUPTED_EXIT_CODE } from "../slurm/batch-script.js";

/** What differs between submissions. */
export type Placed = Pick<
  SlurmRequest,
  "name" | "comment" | "folder" | "outputFile" | "array" | "dependency" | "isRequeued"
>;
/** What a job asks for; all jobs of an array ask for the same. */
export type Needs = Omit<SlurmRequest, keyof Placed>;

/** What a job needs of Slurm: the configuration's section, with the job's own resources and priority over it. */
export function needsOf(slurm: Config["slurm"], spec?: Pick<JobSpec, "resources" | "priority">): Needs {
  const { gpus, cpus, memoryMiB, timeLimitMinutes } = spec?.resources ?? {};
  const { partition, account, qos, nodes, gpuType, gres, constraint, signalSeconds, directives, suppress } = slurm;
  return {
    ...{ partition, account, qos, nodes, gpuType, gres, constraint, signalSeconds, directives, suppress },
    gpus: gpus ?? slurm.gpus,
    cpus: cpus ?? slurm.cpus,
    memoryMiB: memoryMiB ?? slurm.memoryMiB,
    timeLimitMinutes: timeLimitMinutes ?? slurm.timeLimitMinutes,
    nice: niceOf(spec?.priority ?? 0, slurm),
  };
}

/** Whether jobs wait for others in Slurm; where the site refuses the option, they are submitted once those have succeeded. */
export function waitsInSlurm({ suppress }: Pick<Config["slurm"], "suppress">): boolean {
  return !suppress.some((name) => /^-*dependency$/.test(name));
}

/** Slurm ignores a negative one of those who may not raise a priority; their jobs with a higher one are submitted first. */
function niceOf(priority: number, { raisePriority }: Pick<Config["slurm"], "raisePriority">): number {
  if (priority === 0 || (priority > 0 && !raisePriority)) return 0;
  return -priority;
}

/** The script that runs the tasks of a folder; see `runSlurmTask`. */
export function taskScript(slurm: Config["slurm"], needs: Needs, placed: Placed): string {
  return batchScript({
    request: { ...needs, ...placed },
    command: taskCommand(slurm, placed.folder),
    files: [programFile()],
    ...{ setup: slurm.setup, teardown: slurm.teardown, template: readTemplate(slurm.template) },
  });
}

function taskCommand(slurm: Config["slurm"], folder: string): string[] {
  return [slurm.node ?? process.execPath, programFile(), "slurm", "work", folder];
}

/** This package's program, which nodes run. */
export function programFile(): string {
  return join(packageRoot(), "dist", "cli", "main.js");
}

function readTemplate(path: string | null): string | undefined {
  if (path === null) return undefined;
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new ConfigError(`Cannot read slurm.template: ${(cause as Error).message}, check the path`, {
      code: "file_not_found",
      details: { path },
      cause,
    });
  }
}
