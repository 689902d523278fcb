import { z } from "zod";
import { cacheSchema } from "../../config/schema.js";

const text = z.string().min(1);
const penalty = z.number().min(-2).max(2).nullish();

const stop = z
  .union([text, z.array(text).max(16)], { error: "must be a text or a list of at most 16 texts" })
  .nullish();

/** What both kinds of completion take; the last five fields are those that vLLM adds to OpenAI's, and our own. */
const samplingShape = {
  model: z.string().min(1),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().positive().max(1).nullish(),
  n: z.number().int().min(1).max(16).nullish(),
  stream: z.boolean().nullish(),
  stream_options: z.strictObject({ include_usage: z.boolean().nullish() }).nullish(),
  stop,
  seed: z.number().int().nullish(),
  max_tokens: z.number().int().min(1).nullish(),
  presence_penalty: penalty,
  frequency_penalty: penalty,
  logit_bias: z.record(z.string(), z.number()).nullish(),
  user: z.string().nullish(),
  top_k: z.number().int().positive().nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  repetition_penalty: z.number().positive().nullish(),
  /** The KV cache of this request; the server's configuration otherwise. */
  cache: cacheSchema.optional(),
};

export const completionRequestSchema = z.strictObject({
  ...samplingShape,
  prompt: z.union([text, z.array(text).min(1).max(64)], {
    error: "must be a text or a list of 1 to 64 texts, none empty; lists of token ids are not supported",
  }),
  logprobs: z.number().int().min(0).max(20).nullish(),
  echo: z.boolean().nullish(),
  best_of: z.number().int().nullish(),
  suffix: z.string().nullish(),
});

const contentSchema = z.union([z.string(), z.array(z.strictObject({ type: z.literal("text"), text: z.string() }))], {
  error: "must be a text or a list of parts of type text",
});

const messageSchema = z.strictObject({
  role: z.enum(["system", "developer", "user", "assistant"]),
  content: contentSchema,
  name: z.string().nullish(),
  refusal: z.null().optional(),
});

export const chatRequestSchema = z.strictObject({
  ...samplingShape,
  messages: z.array(messageSchema).min(1).max(10_000),
  max_completion_tokens: z.number().int().min(1).nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.number().int().min(0).max(20).nullish(),
  response_format: z.looseObject({ type: z.string() }).nullish(),
  tools: z.array(z.unknown()).nullish(),
  tool_choice: z.unknown().optional(),
  parallel_tool_calls: z.boolean().nullish(),
  // What changes no text is taken and means nothing here.
  store: z.boolean().nullish(),
  metadata: z.record(z.string(), z.string()).nullish(),
  service_tier: z.string().nullish(),
  safety_identifier: z.string().nullish(),
  prompt_cache_key: z.string().nullish(),
});

export type CompletionRequest = z.output<typeof completionRequestSchema>;
export type ChatRequest = z.output<typeof chatRequestSchema>;
