import { Command } from "commander";
import { loadConfig, resolveConfig } from "../index.js";
import type { CommandContext, GlobalOptions } from "./create-program.js";
import { Interrupt } from "./interrupt.js";
import { parseCount } from "./parse-flags.js";
import { runPythonTask, toArguments } from "../runner/python-task.js";

const TASK = { name: "measure latency", failureCode: "bench_failed", module: "kitty_kv.bench.latency" };

interface Measurement {
  parts?: string;
  shapes?: string;
  newTokens?: number;
  kvBudgetGib?: string;
  budgetTokens?: number;
  fill?: string;
  prefill?: string;
  peers?: string;
  chunkTokens?: number;
  timeLimit?: string;
  out?: string;
  plot?: string;
}

interface LatencyFlags extends GlobalOptions, Measurement {
  model?: string;
  preset?: string;
}

/** `bench latency`: generation with the caches of Transformers, with ours and on our engine, on this machine. */
export function latencyCommand({ output }: CommandContext): Command {
  return addMeasurement(
    new Command("latency")
      .description("time generation with the caches of Transformers, with ours and on our engine, one after another")
      .option(
        "--model <model>",
        "folder or hub id, or random weights: qwen3-8b, qwen3-0.6b; without it the bundled model",
      )
      .option("--preset <name>", "which of ours (kitty-pro)"),
  ).action(async (_flags: object, self: Command) => {
    const flags = self.optsWithGlobals<LatencyFlags>();
    const config = flags.config === undefined ? resolveConfig() : await loadConfig(flags.config);
    using interrupt = new Interrupt();
    const signal = AbortSignal.any([interrupt.signal, output.closed]);
    const onProgress = (line: string): void => {
      output.note(line);
    };
    const model = flags.model ?? config.model;
    const preset = flags.preset ?? config.cache.preset;
    const { device, dtype } = config.worker;
    const args = toArguments({ ...measurement(flags), model, preset, device, dtype });
    const { report, ...figures } = await runPythonTask(config, { ...TASK, args }, { signal, onProgress });
    if (output.isJson) await output.json(figures);
    else await output.line(report);
  });
}

/** What is measured, and where it is written; Python reads and checks all but the counts. */
function addMeasurement(command: Command): Command {
  return command
    .option("--parts <list>", "of step, budget, prefill, by commas (step)")
    .option("--shapes <list>", "of step: batch x prompt tokens, by commas (1x256,4x256)")
    .option("--new-tokens <n>", "of step and budget: tokens that each row generates (24)", parseCount("--new-tokens"))
    .option("--kv-budget-gib <n>", "of budget: GiB for the cache of all rows (0.0625)")
    .option("--budget-tokens <n>", "of budget: tokens a row, new ones included (1024)", parseCount("--budget-tokens"))
    .option("--fill <how>", "of budget: repeat one prompt's cache in all rows, or prompt each (repeat)")
    .option("--prefill <list>", "of prefill: batch x prompt tokens, by commas (1x1024)")
    .option("--peers <list>", "only these, by commas")
    .option(
      "--chunk-tokens <n>",
      "of a prompt, in a pass of the engine at most (its own)",
      parseCount("--chunk-tokens"),
    )
    .option("--time-limit <seconds>", "begin nothing more after so long")
    .option("--out <folder>", "write report.json, report.md and latency.svg here, after each row")
    .option("--plot <file>", "write the plot here, as SVG");
}

function measurement(flags: Measurement): Parameters<typeof toArguments>[0] {
  const { parts, shapes, newTokens, kvBudgetGib, budgetTokens, fill, prefill, peers } = flags;
  const { chunkTokens, timeLimit, out, plot } = flags;
  return {
    parts,
    shapes,
    newTokens,
    kvBudgetGib,
    budgetTokens,
    fill,
    prefill,
    peers,
    chunkTokens,
    timeLimit,
    out,
    plot,
  };
}
