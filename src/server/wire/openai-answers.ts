import { z } from "zod";

const count = z.number().int().nonnegative();
const finishReason = z.enum(["stop", "length"]).nullable();

const usageSchema = z.object({
  prompt_tokens: count,
  completion_tokens: count,
  total_tokens: count,
  prompt_tokens_details: z.object({ cached_tokens: count }),
});

const tokenSchema = z.object({ token: z.string(), logprob: z.number(), bytes: z.array(count).nullable() });
const chatLogprobsSchema = z
  .object({
    content: z.array(tokenSchema.extend({ top_logprobs: z.array(tokenSchema) })),
    refusal: z.null(),
  })
  .nullable();
const completionLogprobsSchema = z
  .object({
    tokens: z.array(z.string()),
    token_logprobs: z.array(z.number()),
    top_logprobs: z.array(z.record(z.string(), z.number())).nullable(),
    text_offset: z.array(count),
  })
  .nullable();

const head = { id: z.string(), created: count, model: z.string(), system_fingerprint: z.string() };

export const completionSchema = z.object({
  ...head,
  object: z.literal("text_completion"),
  choices: z.array(
    z.object({ index: count, text: z.string(), logprobs: completionLogprobsSchema, finish_reason: finishReason }),
  ),
  usage: usageSchema.nullish(),
});

export const chatCompletionSchema = z.object({
  ...head,
  object: z.literal("chat.completion"),
  choices: z.array(
    z.object({
      index: count,
      message: z.object({ role: z.literal("assistant"), content: z.string(), refusal: z.null() }),
      logprobs: chatLogprobsSchema,
      finish_reason: finishReason,
    }),
  ),
  usage: usageSchema,
});

export const chatChunkSchema = z.object({
  ...head,
  object: z.literal("chat.completion.chunk"),
  choices: z.array(
    z.object({
      index: count,
      delta: z.object({ role: z.literal("assistant").optional(), content: z.string().optional() }),
      logprobs: chatLogprobsSchema,
      finish_reason: finishReason,
    }),
  ),
  usage: usageSchema.nullish(),
});

export const modelSchema = z.object({
  id: z.string(),
  object: z.literal("model"),
  created: count,
  owned_by: z.string(),
  max_model_len: count,
  chat_template: z.boolean(),
});
export const modelListSchema = z.object({ object: z.literal("list"), data: z.array(modelSchema) });

export type Usage = z.output<typeof usageSchema>;
export type ChatLogprobs = z.output<typeof chatLogprobsSchema>;
export type CompletionLogprobs = z.output<typeof completionLogprobsSchema>;
export type Completion = z.output<typeof completionSchema>;
export type ChatCompletion = z.output<typeof chatCompletionSchema>;
export type ChatChunk = z.output<typeof chatChunkSchema>;
