import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Config } from "../../config/schema.js";
import type { EvalParams, LatencyParams, SimulateParams } from "../../job/job-params.js";
import type { JobSpec } from "../../job/job-spec.js";
import { toArguments, type PythonTask } from "../../runner/python-task.js";
import { runTask } from "../../runner/run-task.js";
import type { TaskFiles } from "../../runner/task-files.js";
import type { JobExecutor } from "./executor.js";
import type { JobFolder } from "./job-folder.js";

/** `latency`: what `kitty-kv bench latency` measures. */
export function latencyExecutor(config: Config): JobExecutor {
  return pythonExecutor(config, (spec) => {
    const { model, cache, worker } = withSpec(config, spec);
    const { device, dtype } = worker;
    const args = toArguments({ ...(spec.params as LatencyParams), model, preset: cache.preset, device, dtype });
    return { name: "measure latency", failureCode: "bench_failed", module: "kitty_kv.bench.latency", args };
  });
}

/** `simulate`: what `kitty-kv simulate` compares. */
export function simulateExecutor(config: Config): JobExecutor {
  return pythonExecutor(config, (spec, files) => {
    const { model, cache, worker } = withSpec(config, spec);
    const { verify, text, ...params } = spec.params as SimulateParams;
    const { device, dtype } = worker;
    const args = [
      ...toArguments({ ...cache, model, ...params, text: shown(text, files), device, dtype }),
      ...(verify ? ["--verify"] : []),
    ];
    return { name: "simulate", failureCode: "simulation_failed", module: "kitty_kv.sim", args };
  });
}

/** `eval`: what `kitty-kv eval` answers; items that an attempt before this one has answered are not answered again. */
export function evalExecutor(config: Config): JobExecutor {
  const evaluate = pythonExecutor(config, (spec, files, folder) => {
    const { model, cache, worker } = withSpec(config, spec);
    const { presets, stopEarly, text, includePath, ...params } = spec.params as EvalParams;
    const preset = presets ?? [...new Set([cache.preset, "fp16"])].join(",");
    const { device, dtype } = worker;
    const paths = {
      text: shown(text, files),
      includePath: shown(includePath, files),
      out: files.writes(folder.file("items")),
    };
    const args = [
      ...toArguments({ ...params, ...paths, model, preset, device, dtype }),
      ...(stopEarly === true ? ["--stop-early"] : []),
    ];
    return { name: "evaluate", failureCode: "eval_failed", module: "kitty_kv.eval", args };
  });
  return async (context) => {
    const { figures, files } = await evaluate(context);
    const { folder } = context;
    folder.write("report.html", [await readFile(join(folder.file("items"), "report.html"), "utf8")]);
    return { figures, files: [...files, "report.html"] };
  };
}

type Describe = (spec: JobSpec, files: TaskFiles, folder: JobFolder) => PythonTask;

// As an evaluation says it of each item.
const PROGRESS = /^(\d{1,9})\/(\d{1,9}) /;

function pythonExecutor(config: Config, describe: Describe): JobExecutor {
  return async ({ job: { spec }, folder, signal, gpus, begin, log, progress }) => {
    begin();
    const onProgress = (line: string): void => {
      log(line);
      const [, done, total] = PROGRESS.exec(line) ?? [];
      if (done !== undefined) progress(Number(done), Number(total));
    };
    // In a container, the folder of the job's own model is shown as the configured one's is.
    const own = { ...config, model: spec.model ?? config.model };
    const env = environment(spec, gpus);
    const { report, ...figures } = await runTask(own, (files) => ({ ...describe(spec, files, folder), env }), {
      ...{ signal, onProgress, usesGpus: true },
    });
    folder.write("report.txt", [`${report}\n`]);
    folder.write("figures.json", [`${JSON.stringify(figures, undefined, 2)}\n`]);
    return { figures, files: ["figures.json", "report.txt"] };
  };
}

function shown(path: string | undefined, files: TaskFiles): string | undefined {
  return path === undefined ? undefined : files.reads(path);
}

/** The configuration's model and cache with those of the spec over them; a preset stands alone. */
function withSpec(
  config: Config,
  { model = config.model, cache = {} }: JobSpec,
): Pick<Config, "model" | "cache" | "worker"> {
  const merged = cache.preset === undefined ? { ...config.cache, ...cache } : { ...cache, preset: cache.preset };
  return { model, cache: merged, worker: config.worker };
}

function environment({ resources }: JobSpec, gpus: readonly string[]): Record<string, string> {
  const cpus = resources.cpus === undefined ? {} : { OMP_NUM_THREADS: String(resources.cpus) };
  return gpus.length === 0 ? cpus : { ...cpus, CUDA_VISIBLE_DEVICES: gpus.join(",") };
}
