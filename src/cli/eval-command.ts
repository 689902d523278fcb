import { join } from "node:path";
import { Command } from "commander";
import type { CommandContext, GlobalOptions } from "./create-program.js";
import { Interrupt } from "./interrupt.js";
import { parseCount, parseInteger } from "./parse-flags.js";
import { readConfig } from "./read-config.js";
import { runPythonTask, toArguments } from "../runner/python-task.js";
import { stateFolder } from "../util/state-folder.js";

const TASK = { name: "evaluate", failureCode: "eval_failed", module: "kitty_kv.eval" };

interface EvalFlags extends GlobalOptions {
  preset?: string;
  tasks?: string;
  limit?: number;
  lengths?: string;
  seed?: number;
  model?: string;
  text?: string;
  out?: string;
  stopEarly?: boolean;
  includePath?: string;
  metric?: string;
  repeats?: number;
  maxNewTokens?: number;
}

/** `eval`: whether a preset loses accuracy on a model, beside its 16-bit cache on the same items. */
export function evalCommand({ output }: CommandContext): Command {
  return addFlags(new Command("eval")).action(async (_flags: object, self: Command) => {
    const flags = self.optsWithGlobals<EvalFlags>();
    const config = await readConfig(flags);
    using interrupt = new Interrupt();
    const signal = AbortSignal.any([interrupt.signal, output.closed]);
    const onProgress = (line: string): void => {
      output.note(line);
    };
    const { tasks, limit, lengths, seed, text, out, includePath, metric, repeats, maxNewTokens } = flags;
    const model = flags.model ?? config.model;
    const preset = flags.preset ?? [...new Set([config.cache.preset, "fp16"])].join(",");
    const { device, dtype } = config.worker;
    // Without a folder of the user's, one that what decides the results names: the same command goes on in it.
    const home = out === undefined ? join(stateFolder(), "evaluations") : undefined;
    const theirs = { includePath, metric, repeats, maxNewTokens };
    const values = toArguments({
      preset,
      tasks,
      limit,
      lengths,
      seed,
      model,
      text,
      out,
      home,
      device,
      dtype,
      ...theirs,
    });
    const args = flags.stopEarly === true ? [...values, "--stop-early"] : values;
    const { report, ...figures } = await runPythonTask(config, { ...TASK, args }, { signal, onProgress });
    if (output.isJson) await output.json(figures);
    else await output.line(report);
  });
}

/** Python reads and checks all but the numbers. */
function addFlags(command: Command): Command {
  return command
    .description("answer tasks over the packed cache, each preset beside the 16-bit cache on the same items")
    .option("--preset <list>", "presets by commas (the configuration's, and fp16)")
    .option(
      "--tasks <list>",
      "tasks by commas, or offline for all that need no data; others of lm-evaluation-harness (offline)",
    )
    .option("--limit <n>", "items of each task (6)", parseCount("--limit"))
    .option("--lengths <list>", "tokens of an item, by commas (512,1024,2048)")
    .option("--seed <s>", "of the questions (0)", parseInteger("--seed"))
    .option("--model <model>", "folder or hub id; without it the bundled model")
    .option("--text <file>", "UTF-8 text, plain or .xz; without it an excerpt of Treasure Island")
    .option("--include-path <folder>", "with task files for lm-evaluation-harness")
    .option("--metric <name>", "of the harness's tasks: by which an answer is right, METRIC or METRIC,FILTER")
    .option(
      "--repeats <n>",
      "of the harness's tasks: answers to each question (as the paper, else 1)",
      parseCount("--repeats"),
    )
    .option("--max-new-tokens <n>", "of the harness's tasks: most tokens of an answer", parseCount("--max-new-tokens"))
    .option("--stop-early", "end a preset's task once it is clearly worse than fp16, or clearly as good")
    .option(
      "--out <folder>",
      "keep results and the report here; a run that was killed goes on (a folder below KITTY_KV_HOME/evaluations)",
    );
}
