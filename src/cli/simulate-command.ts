import { Command } from "commander";
import { z } from "zod";
import { loadConfig, PRESET_NAMES, resolveConfig, type CacheInput, type Config } from "../index.js";
import type { CommandContext, GlobalOptions } from "./create-program.js";
import { Interrupt } from "./interrupt.js";
import { parseBits, parseCount, parseInteger, parseNatural, parseShare } from "./parse-flags.js";
import { runPythonTask, toArguments } from "../runner/python-task.js";

const TASK = { name: "simulate", failureCode: "simulation_failed", module: "kitty_kv.sim" };

/** The cache's fields, as flags. */
type CacheFlags = { [Field in keyof CacheInput]?: CacheInput[Field] };

interface SimulateFlags extends GlobalOptions, CacheFlags {
  model?: string;
  text?: string;
  sequences?: number;
  length?: number;
  verify?: boolean;
  sensitivity?: string;
}

const verificationSchema = z.looseObject({ verification: z.looseObject({ isEqual: z.boolean() }).optional() });

/** `simulate`: what a cache of any bit widths costs a model, and with `--verify` that the packed cache is that cache. */
export function simulateCommand({ output, setExitCode }: CommandContext): Command {
  return addFlags(new Command("simulate")).action(async (_flags: object, self: Command) => {
    const flags = self.optsWithGlobals<SimulateFlags>();
    const config = await readConfig(flags);
    using interrupt = new Interrupt();
    const signal = AbortSignal.any([interrupt.signal, output.closed]);
    const onProgress = (text: string): void => {
      output.log({ stream: "stderr", text });
    };
    const task = { ...TASK, args: readArguments(config, flags) };
    const { report, ...figures } = await runPythonTask(config, task, { signal, onProgress });
    if (output.isJson) await output.json(figures);
    else await output.line(report);
    if (verificationSchema.parse(figures).verification?.isEqual === false) setExitCode(1);
  });
}

function addFlags(command: Command): Command {
  return command
    .description("what a KV cache of any precision costs a model, beside its 16-bit cache")
    .option("--preset <name>", `what the other flags default to: ${PRESET_NAMES.join(", ")}`)
    .option("--k-bits <n>", "bits of a key code, 16 for none", parseBits("--k-bits", { isOptional: true }))
    .option("--v-bits <n>", "bits of a value code, 16 for none", parseBits("--v-bits", { isOptional: true }))
    .option("--boost-bits <n>", "bits of a boosted key channel", parseBits("--boost-bits", { isOptional: false }))
    .option("--boost-ratio <x>", "share of key channels that is boosted", parseShare("--boost-ratio"))
    .option("--selection <name>", "how they are chosen: magnitude, range, query, variance, random")
    .option("--sink-tokens <n>", "first tokens that stay in 16 bits", parseNatural("--sink-tokens"))
    .option("--recent-tokens <n>", "latest tokens whose values do", parseNatural("--recent-tokens"))
    .option("--page-size <n>", "tokens quantized together", parseCount("--page-size"))
    .option("--seed <s>", "of the random selection", parseInteger("--seed"))
    .option("--verify", "hold the packed cache to the simulated one, layer by layer; exit code 1 if they differ")
    .option("--sensitivity <parts>", "what carries the error: all, or some of layers,heads,channels,settings,positions")
    .option("--model <model>", "folder or hub id; without it the bundled model")
    .option("--text <file>", "UTF-8 text, plain or .xz; without it an excerpt of Treasure Island")
    .option("--sequences <n>", "windows of the text (2)", parseCount("--sequences"))
    .option("--length <n>", "tokens a window (1024)", parseCount("--length"));
}

/** The file's model and cache, and the flags over them; a preset given as a flag replaces the file's whole cache. */
async function readConfig(flags: SimulateFlags): Promise<Config> {
  const base = flags.config === undefined ? resolveConfig() : await loadConfig(flags.config);
  const fields = Object.fromEntries(cacheEntries(flags));
  const cache = flags.preset === undefined ? { ...base.cache, ...fields } : fields;
  const model = flags.model === undefined ? {} : { model: flags.model };
  return resolveConfig({ ...base, ...model, cache });
}

function readArguments({ model, cache, worker }: Config, flags: SimulateFlags): string[] {
  const { text, sequences, length, verify, sensitivity } = flags;
  const fields = Object.fromEntries(cacheEntries(cache));
  const { device, dtype } = worker;
  const args = toArguments({ ...fields, model, text, sequences, length, sensitivity, device, dtype });
  return verify === true ? [...args, "--verify"] : args;
}

const CACHE_FIELDS = [
  "preset",
  "kBits",
  "vBits",
  "boostBits",
  "boostRatio",
  "selection",
  "sinkTokens",
  "recentTokens",
  "pageSize",
  "seed",
] as const satisfies readonly (keyof CacheInput)[];

function cacheEntries(from: CacheFlags): [string, string | number][] {
  return CACHE_FIELDS.flatMap((name): [string, string | number][] => {
    const value = from[name];
    return value === undefined ? [] : [[name, value]];
  });
}
