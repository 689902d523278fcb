import { Command } from "commander";
import { loadConfig, resolveConfig, type Config } from "../index.js";
import type { CommandContext, GlobalOptions } from "./create-program.js";
import { Interrupt } from "./interrupt.js";
import { parseCount } from "./parse-flags.js";
import { runPythonTask } from "./python-report.js";

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
      const task = { ...TASK, args: toArguments(config, flags) };
      const { report, ...figures } = await runPythonTask(config, task, { signal, onProgress });
      if (output.isJson) await output.json(figures);
      else await output.line(report);
    });
}

function toArguments({ model, cache, worker }: Config, flags: LatencyFlags): string[] {
  const values: Record<string, string | number | null | undefined> = {
    model: flags.model ?? model,
    preset: flags.preset ?? cache.preset,
    shapes: flags.shapes,
    "new-tokens": flags.newTokens,
    peers: flags.peers,
    plot: flags.plot,
    device: worker.device,
    dtype: worker.dtype,
  };
  // With "=" a value that begins with a dash is not taken for a flag.
  return Object.entries(values)
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([name, value]) => `--${name}=${String(value)}`);
}
