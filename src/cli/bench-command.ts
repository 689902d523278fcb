import { Command } from "commander";
import { ConfigError, loadConfig, resolveConfig } from "../index.js";
import type { CommandContext, GlobalOptions } from "./create-program.js";
import { Interrupt } from "./interrupt.js";
import { latencyCommand } from "./latency-command.js";
import { runPythonTask } from "../runner/python-task.js";

const TASK = { name: "measure kernels", failureCode: "bench_failed", module: "kitty_kernels.bench" };
const PARTS = ["decode", "short", "pack", "flush"];

interface KernelOptions extends GlobalOptions {
  quick?: boolean;
  only?: string[];
}

/** `bench`: what users can measure for themselves. */
export function benchCommand(context: CommandContext): Command {
  return new Command("bench")
    .description("measure on this machine")
    .addCommand(kernelsCommand(context))
    .addCommand(latencyCommand(context));
}

/** `bench kernels`: the kernels beside torch's 16-bit attention, on this machine's GPU. */
function kernelsCommand({ output }: CommandContext): Command {
  return new Command("kernels")
    .description("time the kernels beside torch's attention on 16-bit keys and values; needs a CUDA GPU")
    .option("--quick", "fewer sizes and repetitions, without FlexAttention")
    .option("--only <part>", `measure this part: ${PARTS.join(", ")}; may be given again`, collectPart)
    .action(async (_flags: object, self: Command) => {
      const { config: file, quick, only = [] } = self.optsWithGlobals<KernelOptions>();
      const config = file === undefined ? resolveConfig() : await loadConfig(file);
      const args = [...(quick === true ? ["--quick"] : []), ...only.flatMap((part) => ["--only", part])];
      using interrupt = new Interrupt();
      const signal = AbortSignal.any([interrupt.signal, output.closed]);
      const onProgress = (line: string): void => {
        output.note(line);
      };
      const { report, ...figures } = await runPythonTask(config, { ...TASK, args }, { signal, onProgress });
      if (output.isJson) await output.json(figures);
      else await output.line(report);
    });
}

function collectPart(part: string, earlier: string[] | undefined): string[] {
  if (PARTS.includes(part)) return [...(earlier ?? []), part];
  throw new ConfigError(
    `Cannot read the command line: --only must be one of ${PARTS.join(", ")}, got ${JSON.stringify(part)}`,
    { details: { flag: "--only", value: part } },
  );
}
