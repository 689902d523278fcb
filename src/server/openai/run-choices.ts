import type { CacheInput } from "../../config/schema.js";
import { CancelledError } from "../../errors.js";
import type { GenerateOptions } from "../../orchestrator/generate-input.js";
import type { GenerationChunk, GenerationResult } from "../../orchestrator/generation-stream.js";
import type { GenerateInput } from "../generations.js";
import type { Services } from "../services.js";
import { TokenNames, type NamedLogprob } from "./name-tokens.js";

type TokenLogprob = NonNullable<GenerationChunk["logprobs"]>[number];

/** One text to be written; a request may ask for several. */
export interface Plan {
  index: number;
  input: GenerateInput;
  options: Omit<GenerateOptions, "signal">;
}

export interface FinishedChoice {
  index: number;
  result: GenerationResult;
  logprobs: NamedLogprob[] | null;
  /** Those that came behind the last text that `onText` heard of. */
  untold: NamedLogprob[] | null;
}

export interface RunContext {
  services: Services;
  cache: CacheInput | undefined;
  signal: AbortSignal;
  /** Hears of text as it is written; the generation waits for it. */
  onText?: (index: number, text: string, logprobs: NamedLogprob[] | null) => Promise<void>;
  onEnd?: (choice: FinishedChoice) => Promise<void>;
}

/**
 * Writes all texts at once, each in a session of its own that ends with it.
 * @throws what the first of them throws, after the others have stopped; KittyError `queue_full`
 */
export function runChoices(plans: readonly Plan[], context: RunContext): Promise<FinishedChoice[]> {
  return context.services.generations.reserve(plans.length, () => runTogether(plans, context));
}

async function runTogether(plans: readonly Plan[], context: RunContext): Promise<FinishedChoice[]> {
  const failure = new AbortController();
  const signal = AbortSignal.any([context.signal, failure.signal]);
  const errors: unknown[] = [];
  const running = plans.map(async (plan) => {
    try {
      return await runChoice(plan, { ...context, signal });
    } catch (error) {
      errors.push(error);
      failure.abort();
      return undefined;
    }
  });
  const finished = (await Promise.all(running)).filter((choice) => choice !== undefined);
  if (errors.length > 0) throw errors[0];
  return finished;
}

async function runChoice(plan: Plan, context: RunContext): Promise<FinishedChoice> {
  const { services, cache, signal, onText, onEnd } = context;
  await using session = await services.kitty.sessions.open({ cache, signal });
  const stream = services.generations.start(session, plan.input, { ...plan.options, signal });
  const names = new TokenNames(session);
  let told = 0;
  if (onText !== undefined) {
    let waiting: TokenLogprob[] = [];
    for await (const { text, logprobs } of stream) {
      waiting = [...waiting, ...(logprobs ?? [])];
      if (text === "") continue;
      told += waiting.length;
      await onText(plan.index, text, logprobs === undefined ? null : await names.name(waiting));
      waiting = [];
    }
  }
  const result = await stream.result();
  if (result.finishReason === "cancelled") throw new CancelledError("Cannot generate: the client is gone");
  const logprobs = result.logprobs === undefined ? null : await names.name(result.logprobs);
  const choice = { index: plan.index, result, logprobs, untold: logprobs?.slice(told) ?? null };
  await onEnd?.(choice);
  return choice;
}
