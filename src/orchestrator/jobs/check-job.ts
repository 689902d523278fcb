import { existsSync } from "node:fs";
import { resolve } from "node:path";
import type { Config } from "../../config/schema.js";
import { ConfigError, UnsupportedError } from "../../errors.js";
import { absoluteModel } from "../../runner/slurm-node-config.js";
import type { EvalParams, SweepParams } from "../../job/job-params.js";
import { parseJobSpec, type JobSpec } from "../../job/job-spec.js";
import { expandSweep } from "../../job/sweep.js";

/**
 * Checks a spec, and that this orchestrator can run it: what can never work is refused when it is submitted.
 * Paths become absolute, as the job may run in another process.
 * @throws ConfigError, UnsupportedError
 */
export function checkJob(input: unknown, config: Config): JobSpec {
  const spec = parseJobSpec(input);
  if (spec.kind !== "sweep") return checkOne(spec, config);
  const sweep = { ...spec, params: withAbsoluteSweep(spec.params) };
  for (const child of expandSweep(sweep.params)) checkOne(child.spec, config);
  return sweep;
}

/** What a job comes to: itself, or a sweep's children. */
export function singleJobs(spec: JobSpec): JobSpec[] {
  return spec.kind === "sweep" ? expandSweep(spec.params).map((child) => child.spec) : [spec];
}

/** A child of a sweep is checked with it, and made complete when it is stored. */
export function checkOne(spec: JobSpec, config: Config): JobSpec {
  checkRunner(spec, config);
  checkGpus(spec, config);
  return withAbsolutePaths(config.runner === "slurm" ? withAbsoluteModel(spec) : spec);
}

function checkRunner({ runner }: JobSpec, config: Config): void {
  const wanted = runner ?? config.runner;
  if (wanted !== config.runner) {
    throw new UnsupportedError(
      `Cannot submit this job: runner is "${wanted}", this orchestrator runs "${config.runner}"; leave runner out, or start one with runner: ${wanted}`,
      { details: { runner: wanted, supported: [config.runner] } },
    );
  }
}

function checkGpus({ resources }: JobSpec, { jobs, runner }: Config): void {
  const { gpus = 0 } = resources;
  // Slurm gives out GPUs itself.
  if (gpus <= jobs.gpus.length || runner === "slurm") return;
  throw new ConfigError(
    `Cannot submit this job: resources.gpus is ${String(gpus)}, this orchestrator has ${String(jobs.gpus.length)} to give; list them under jobs.gpus, or ask for fewer`,
    { details: { path: "resources.gpus", gpus, available: jobs.gpus.length } },
  );
}

function withAbsolutePaths(spec: JobSpec): JobSpec {
  if (spec.kind === "generate" && spec.params.promptsFile !== undefined) {
    return { ...spec, params: { ...spec.params, promptsFile: existing("promptsFile", spec.params.promptsFile) } };
  }
  if (spec.kind === "simulate" && spec.params.text !== undefined) {
    return { ...spec, params: { ...spec.params, text: existing("text", spec.params.text) } };
  }
  if (spec.kind === "eval") return { ...spec, params: withAbsoluteEval(spec.params) };
  return spec;
}

function withAbsoluteEval(params: EvalParams): EvalParams {
  const { text, includePath } = params;
  return {
    ...params,
    ...(text !== undefined && { text: existing("text", text) }),
    ...(includePath !== undefined && { includePath: existing("includePath", includePath) }),
  };
}

/** Nodes have another working folder; on this machine the model's name is what the user wrote. */
function withAbsoluteModel(spec: JobSpec): JobSpec {
  return spec.model === undefined ? spec : { ...spec, model: absoluteModel(spec.model) };
}

const PATH_FIELDS = ["promptsFile", "text", "includePath"];

/** The same in a sweep's base and matrix, whose children are made later. */
function withAbsoluteSweep({ base, matrix }: SweepParams): SweepParams {
  const isPath = (field: string): boolean => PATH_FIELDS.includes(field.replace(/^params\./, ""));
  const absolute = (field: string, value: unknown): unknown =>
    isPath(field) && typeof value === "string" ? resolve(value) : value;
  const params = Object.entries(base["params"] ?? {}).map(([field, value]) => [field, absolute(field, value)]);
  const rows = Object.entries(matrix).map(([field, values]): [string, unknown[]] => [
    field,
    values.map((value) => absolute(field, value)),
  ]);
  return {
    base: { ...base, params: Object.fromEntries(params) as object },
    matrix: Object.fromEntries(rows),
  };
}

function existing(field: string, path: string): string {
  const absolute = resolve(path);
  if (existsSync(absolute)) return absolute;
  throw new ConfigError(`Cannot submit this job: params.${field} is ${JSON.stringify(path)}, which does not exist`, {
    code: "file_not_found",
    details: { path: `params.${field}`, file: absolute },
  });
}
