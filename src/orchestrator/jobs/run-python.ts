import type { Config } from "../../config/schema.js";
import type { LatencyParams, SimulateParams } from "../../job/job-params.js";
import type { JobSpec } from "../../job/job-spec.js";
import { runPythonTask, toArguments, type PythonTask } from "../../runner/python-task.js";
import type { JobExecutor } from "./executor.js";

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
  return pythonExecutor(config, (spec) => {
    const { model, cache, worker } = withSpec(config, spec);
    const { verify, ...params } = spec.params as SimulateParams;
    const { device, dtype } = worker;
    const args = [...toArguments({ ...cache, model, ...params, device, dtype }), ...(verify ? ["--verify"] : [])];
    return { name: "simulate", failureCode: "simulation_failed", module: "kitty_kv.sim", args };
  });
}

function pythonExecutor(config: Config, describe: (spec: JobSpec) => PythonTask): JobExecutor {
  return async ({ job: { spec }, folder, signal, gpus, begin, log }) => {
    const task = { ...describe(spec), env: environment(spec, gpus) };
    begin();
    const { report, ...figures } = await runPythonTask(config, task, { signal, onProgress: log });
    folder.write("report.txt", [`${report}\n`]);
    folder.write("figures.json", [`${JSON.stringify(figures, undefined, 2)}\n`]);
    return { figures, files: ["figures.json", "report.txt"] };
  };
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
