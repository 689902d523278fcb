import { z } from "zod";
import { validate } from "../config/validate.js";
import { ConfigError } from "../errors.js";
import type { ChatMessage } from "../bridge/messages.js";
import { checkSpeculation, speculationSchema, type Speculation } from "./speculation.js";

export interface GenerateOptions {
  /** @default 64 */
  maxNewTokens?: number | undefined;
  /** 0 takes the most probable token each time. @default 0 */
  temperature?: number | undefined;
  /** Sample only from the k most probable tokens. */
  topK?: number | undefined;
  /** Sample only from the most probable tokens that hold this much probability together. */
  topP?: number | undefined;
  /** Sample only from tokens at least this share as probable as the most probable one. */
  minP?: number | undefined;
  /** Above 1, tokens of the prompt and the text so far become less probable. @default 1 */
  repetitionPenalty?: number | undefined;
  /** Report each token's log probability, and those of this many most probable tokens, at most 20. */
  logprobs?: number | undefined;
  seed?: number | undefined;
  /** Stop before any of these texts, at most 16. */
  stop?: readonly string[] | undefined;
  /** Several tokens a pass where they can be guessed; changes no greedy text and no distribution. */
  speculation?: Speculation | undefined;
  /** Ends the generation; `result()` then has the partial text. */
  signal?: AbortSignal | undefined;
}

export const optionsSchema = z.strictObject({
  maxNewTokens: z.number().int().positive().default(64),
  temperature: z.number().nonnegative().default(0),
  topK: z.number().int().positive().optional(),
  topP: z.number().positive().max(1).optional(),
  minP: z.number().min(0).max(1).optional(),
  repetitionPenalty: z.number().positive().optional(),
  logprobs: z.number().int().min(0).max(20).optional(),
  seed: z.number().int().optional(),
  stop: z.array(z.string().min(1)).max(16).default([]),
  speculation: speculationSchema.optional(),
});

export const messagesSchema = z.array(
  z.strictObject({ role: z.enum(["system", "user", "assistant"]), content: z.string() }),
);

export type CheckedOptions = z.output<typeof optionsSchema>;
export type CheckedInput = { prompt: string; messages: null } | { prompt: null; messages: ChatMessage[] };

/** Checks sampling options before anything is sent. */
export function checkGenerateOptions(options: Omit<GenerateOptions, "signal">): CheckedOptions {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  const checked = validate(optionsSchema, Object.fromEntries(given), { attempt: "generate" });
  if (checked.speculation !== undefined) checkSpeculation(checked.speculation);
  return checked;
}

/** Checks what to go on from: a text, or the turns of a conversation. */
export function checkGenerateInput(input: string | readonly ChatMessage[]): CheckedInput {
  if (typeof input === "string") {
    if (input === "") throw emptyPrompt("the prompt is empty");
    checkText(input);
    return { prompt: input, messages: null };
  }
  const messages = validate(messagesSchema, input, { attempt: "generate from these messages" });
  if (messages.length === 0) throw emptyPrompt("there are no messages");
  for (const { content } of messages) checkText(content);
  return { prompt: null, messages };
}

function emptyPrompt(found: string): ConfigError {
  return new ConfigError(`Cannot generate: ${found}, give at least one character`, { code: "empty_prompt" });
}

/** Half a surrogate pair is no character and has no UTF-8. */
function checkText(text: string): void {
  const index = text.search(/\p{Surrogate}/u);
  if (index === -1) return;
  throw new ConfigError(
    `Cannot generate: the text is not valid Unicode at position ${String(index)}, remove that character`,
    {
      details: { index },
    },
  );
}
