import { z } from "zod";
import {
  cacheConfigSchema,
  generationResultSchema as wireResultSchema,
  kvCacheSchema,
  METHODS,
  tokenLogprobSchema,
} from "../bridge/messages.js";
import { cacheSchema } from "../config/schema.js";
import { messagesSchema, optionsSchema } from "./generate-input.js";

const wire = wireResultSchema.shape;

/** What is told of a session that is open; `SessionInfo` as a schema. */
export const sessionInfoSchema = z.object({
  id: z.string(),
  model: METHODS.openSession.result.shape.model,
  cache: cacheConfigSchema,
});

/** `GenerationResult` as a schema. */
export const generationResultSchema = z.object({
  text: wire.text,
  finishReason: wire.finishReason,
  usage: z.object({ promptTokens: wire.promptTokens, completionTokens: wire.completionTokens }),
  timeToFirstTokenMs: wire.timeToFirstTokenMs,
  tokensPerSecond: wire.tokensPerSecond,
  metrics: z.object({
    queueTimeMs: wire.queueTimeMs,
    interTokenLatencyMs: wire.interTokenLatencyMs,
    reusedTokens: wire.reusedTokens,
    preemptions: wire.preemptions,
    draftedTokens: wire.draftedTokens,
    acceptedTokens: wire.acceptedTokens,
    kvBytes: wire.kvBytes,
  }),
  logprobs: wire.logprobs,
  kvCache: kvCacheSchema,
});

/** What `POST /api/sessions` takes. */
export const openSessionBodySchema = z.strictObject({
  /** A folder or hub id; null is the bundled model. The server's configuration says which without it. */
  model: z.string().min(1).nullable().optional(),
  cache: cacheSchema.optional(),
});

/** What `POST /api/sessions/{id}/generate` takes: what to go on from, how, and whether to stream it. */
export const generateBodySchema = optionsSchema.extend({
  prompt: z.string().optional(),
  messages: messagesSchema.optional(),
  /** Server-sent events in place of one document. */
  stream: z.boolean().default(false),
  /** A name to cancel it by. */
  generation: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,64}$/, "must be 1 to 64 letters, digits, - or _")
    .optional(),
});

/** One event of a streamed generation; the last one has the result or the error. */
export const generationEventSchema = z.union([
  z.object({
    text: z.string(),
    tokens: z.number().int().nonnegative(),
    logprobs: z.array(tokenLogprobSchema).optional(),
  }),
  z.object({ result: generationResultSchema }),
  z.object({
    error: z.object({ code: z.string(), message: z.string(), details: z.record(z.string(), z.unknown()).optional() }),
  }),
]);

export const kvCacheMemorySchema = kvCacheSchema;
export const tokenTextsBodySchema = z.strictObject({ tokens: z.array(z.number().int().nonnegative()).max(1_000_000) });
export const tokenTextsSchema = METHODS.tokenTexts.result;
export const cancelBodySchema = z.strictObject({ generation: z.string() });
export const cancelledSchema = METHODS.cancel.result;
