import { Command } from "commander";
import { loadConfig, resolveConfig } from "../index.js";
import type { CommandContext, GlobalOptions } from "./create-program.js";
import { Interrupt } from "./interrupt.js";
import { parseCount } from "./parse-flags.js";
import { runPythonTask, toArguments } from "./python-report.js";

const TASK = { name: "measure latency", failureCode: "bench_failed", module: "kitty_kv.bench.latency" };

interface LatencyFlags extends GlobalOptions {
  model?: string;
  preset?: string;
  shapes?: string;
  newTokens?: number;
  peers?: string;
  plot?: string;
}

/** `bench latency`: generation with the caches of Transformers and with ours, on this machine. */
export function latencyCommand({ output }: CommandContext): Command {
  return new Command("latency")
    .description("time generation with the caches of Transformers and with ours, one after another")
    .option(
      "--model <model>",
      "folder or hub id, or random weights: qwen3-8b, qwen3-0.6b; without it the bundled model",
    )
    .option("--preset <name>", "which of ours (kitty-pro)")
    .option("--shapes <list>", "batch x prompt tokens, by commas (1x256,4x256)")
    .option("--new-tokens <n>", "tokens that each row generates (24)", parseCount("--new-tokens"))
    .option("--peers <list>", "only these caches, by commas")
    .option("--plot <file>", "write a plot of the steps here, as SVG")
    .action(async (_flags: object, self: Command) => {
      const flags = self.optsWithGlobals<LatencyFlags>();
      const config = flags.config === undefined ? resolveConfig() : await loadConfig(flags.config);
      using interrupt = new Interrupt();
      const signal = AbortSignal.any([interrupt.signal, output.closed]);
      const onProgress = (line: string): void => {
        output.note(line);
      };
      const { shapes, newTokens, peers, plot } = flags;
      const model = flags.model ?? config.model;
      const preset = flags.preset ?? config.cache.preset;
      const { device, dtype } = config.worker;
      const args = toArguments({ model, preset, shapes, newTokens, peers, plot, device, dtype });
      const { report, ...figures } = await runPythonTask(config, { ...TASK, args }, { signal, onProgress });
      if (output.isJson) await output.json(figures);
      else await output.line(report);
    });
}
