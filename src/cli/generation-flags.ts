import type { Command } from "commander";
import {
  loadConfig,
  PRESET_NAMES,
  resolveConfig,
  type ConfigInput,
  type GenerateOptions,
  type OpenSessionOptions,
  type Speculation,
} from "../index.js";
import type { GlobalOptions } from "./create-program.js";
import { parseCount, parseInteger, parseProbability, parseTemperature } from "./parse-flags.js";
import { addRunnerFlags, runnerOverrides, type RunnerFlags } from "./runner-flags.js";

/** The flags as commander hands them over. */
export interface GenerationFlags extends GlobalOptions, RunnerFlags {
  model?: string;
  preset?: string;
  maxNewTokens?: number;
  temperature?: number;
  topP?: number;
  topK?: number;
  seed?: number;
  stop?: string[];
  speculation?: string;
}

export interface GenerationSetup {
  config: ConfigInput;
  session: OpenSessionOptions;
  sampling: Omit<GenerateOptions, "signal">;
}

export function addGenerationFlags(command: Command): Command {
  return addRunnerFlags(command)
    .option("--model <model>", "folder or hub id; without it the bundled model")
    .option("--preset <name>", `KV cache: ${PRESET_NAMES.join(", ")}`)
    .option("--max-new-tokens <n>", "stop after this many tokens (64)", parseCount("--max-new-tokens"))
    .option("--temperature <t>", "0 takes the most probable token (0)", parseTemperature("--temperature"))
    .option("--top-p <x>", "sample from the tokens that hold this probability", parseProbability("--top-p"))
    .option("--top-k <n>", "sample from the n most probable tokens", parseCount("--top-k"))
    .option("--seed <s>", "makes sampling repeatable", parseInteger("--seed"))
    .option("--stop <text>", "stop before this text; may be given again", collect)
    .option("--speculation <how>", "prompt-lookup, or a draft model's folder or hub id (none)");
}

/**
 * Turns flags and the configuration file into SDK options, all checked before anything is started.
 * @throws ConfigError
 */
export async function readGenerationFlags(flags: GenerationFlags): Promise<GenerationSetup> {
  const { model, preset, maxNewTokens, temperature, topP, topK, seed, stop } = flags;
  const speculation = flags.speculation === undefined ? undefined : readSpeculation(flags.speculation);
  const base = flags.config === undefined ? resolveConfig() : await loadConfig(flags.config);
  const overrides = {
    ...(model === undefined ? {} : { model }),
    ...(preset === undefined ? {} : { cache: { preset } }),
    ...runnerOverrides(flags, base),
  };
  const config = resolveConfig({ ...base, ...overrides } as ConfigInput);
  const sampling = { maxNewTokens, temperature, topP, topK, seed, stop, speculation };
  return { config, session: { model: config.model, cache: config.cache }, sampling };
}

function readSpeculation(how: string): Speculation {
  return how === "prompt-lookup" || how === "none" ? { method: how } : { method: "draft-model", model: how };
}

function collect(text: string, earlier: string[] | undefined): string[] {
  return [...(earlier ?? []), text];
}
