import { z } from "zod";

const id = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/, "must be 1 to 64 letters, digits, - or _");
const count = z.number().int().nonnegative();
const empty = z.object({});

export const cacheConfigSchema = z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()]));

export const kvCacheSchema = z.object({
  preset: z.string().nullable(),
  tokens: count,
  packedBytes: count,
  fullPrecisionBytes: count,
  denseBytes: count,
  compression: z.number(),
});

export const tokenLogprobSchema = z.object({
  token: count,
  logprob: z.number(),
  top: z.array(z.tuple([count, z.number()])),
});

export const generationResultSchema = z.object({
  text: z.string(),
  finishReason: z.enum(["length", "stop", "cancelled"]),
  promptTokens: count,
  completionTokens: count,
  timeToFirstTokenMs: z.number().nullable(),
  tokensPerSecond: z.number().nullable(),
  queueTimeMs: z.number().nullable(),
  interTokenLatencyMs: z.number().nullable(),
  reusedTokens: count,
  preemptions: count,
  draftedTokens: count,
  acceptedTokens: count,
  kvBytes: count,
  logprobs: z.array(tokenLogprobSchema).optional(),
  kvCache: kvCacheSchema,
});

const messageSchema = z.object({ role: z.enum(["system", "user", "assistant"]), content: z.string() });

const generateOptionsSchema = z.strictObject({
  maxNewTokens: z.number().int().positive(),
  temperature: z.number().nonnegative(),
  topK: z.number().int().positive().optional(),
  topP: z.number().positive().max(1).optional(),
  minP: z.number().min(0).max(1).optional(),
  repetitionPenalty: z.number().positive().optional(),
  logprobs: z.number().int().min(0).max(20).optional(),
  seed: z.number().int().optional(),
  stop: z.array(z.string().min(1)).max(16),
  speculation: z
    .strictObject({
      method: z.enum(["none", "prompt-lookup", "draft-model"]),
      draftTokens: z.number().int().positive().optional(),
      ngramMax: z.number().int().positive().optional(),
      ngramMin: z.number().int().positive().optional(),
      model: z.string().min(1).optional(),
    })
    .optional(),
});

const modelSchema = z.object({
  name: z.string(),
  path: z.string(),
  contextLength: count,
  vocabSize: count,
  chatTemplate: z.boolean(),
  dtype: z.string(),
  device: z.string(),
});

const openedSchema = z.object({ session: id, model: modelSchema, cache: cacheConfigSchema });

/** Every method a worker answers: what goes in, what comes back. */
const poolUseSchema = z.object({
  /** What sequences and remembered prefixes refer to. */
  bytesInUse: count,
  bytesAllocated: count,
  maxBytes: count.nullable(),
  prefixBytes: count,
  prefixHits: count,
  prefixLookups: count,
});

const engineMetricsSchema = z.object({
  running: count,
  waiting: count,
  /** Rows of the last decode pass. */
  batchSize: count,
  tokens: count,
  /** Over the last five seconds. */
  tokensPerSecond: z.number(),
  preemptions: count,
  /** Of generations that have ended. */
  draftedTokens: count,
  acceptedTokens: count,
  /** One for each model and cache configuration with open sessions. */
  pools: z.array(poolUseSchema),
});

export const METHODS = {
  ping: {
    params: empty,
    result: z.object({ uptimeMs: z.number(), activeStreams: count, stepAgeMs: z.number().nullable() }),
  },
  openSession: {
    params: z.strictObject({
      session: id,
      model: z.string().nullable(),
      cache: cacheConfigSchema,
      dtype: z.enum(["auto", "float32", "bfloat16", "float16"]),
      device: z.string(),
      kvMemoryMiB: z.number().int().positive().nullable().default(null),
      /** The file of a session to go on from; its cache's configuration counts then. */
      saved: z.string().nullable().default(null),
    }),
    result: openedSchema,
  },
  generate: {
    params: z.strictObject({
      session: id,
      stream: id,
      prompt: z.string().nullable(),
      messages: z.array(messageSchema).nullable(),
      options: generateOptionsSchema,
      credit: z.number().int().positive(),
    }),
    result: empty,
  },
  credit: { params: z.strictObject({ stream: id, tokens: z.number().int().positive() }), result: empty },
  cancel: { params: z.strictObject({ stream: id }), result: z.object({ cancelled: z.boolean() }) },
  memory: { params: z.strictObject({ session: id }), result: kvCacheSchema },
  /** What the engine of all sessions does and has done; counts are totals. */
  engineMetrics: { params: empty, result: engineMetricsSchema },
  saveSession: { params: z.strictObject({ session: id, path: z.string() }), result: empty },
  /** Another session with the same history; the cache's memory is shared until they part. */
  forkSession: { params: z.strictObject({ session: id, fork: id }), result: openedSchema },
  closeSession: { params: z.strictObject({ session: id }), result: empty },
  /** Each token's text by itself. */
  tokenTexts: {
    params: z.strictObject({ session: id, tokens: z.array(count) }),
    result: z.object({ texts: z.array(z.string()) }),
  },
  shutdown: { params: empty, result: empty },
  "bench.echo": { params: z.strictObject({ payload: z.string() }), result: z.object({ payload: z.string() }) },
  "bench.emit": {
    params: z.strictObject({
      stream: id,
      events: count,
      text: z.string(),
      tokensPerSecond: z.number().positive().nullable(),
    }),
    result: empty,
  },
  "bench.generate": {
    params: z.strictObject({
      stream: id,
      tokens: z.number().int().positive(),
      tokensPerSecond: z.number().positive().nullable(),
      credit: z.number().int().positive(),
    }),
    result: empty,
  },
} as const;

export type Method = keyof typeof METHODS;
export type Params<M extends Method> = z.input<(typeof METHODS)[M]["params"]>;
export type Result<M extends Method> = z.output<(typeof METHODS)[M]["result"]>;

export const wireErrorSchema = z.object({
  code: z.string().regex(/^[a-z][a-z0-9_]{0,63}$/),
  message: z.string(),
  details: z.record(z.string(), z.unknown()).optional(),
});

/** A long call's own reply is a ticket; its outcome follows in a "settled" event. */
export const ticketSchema = z.strictObject({ ticket: z.number().int().nonnegative() });

export type KvCacheMemory = z.output<typeof kvCacheSchema>;
export type EngineMetrics = z.output<typeof engineMetricsSchema>;
export type TokenLogprob = z.output<typeof tokenLogprobSchema>;
export type WireGenerationResult = z.output<typeof generationResultSchema>;
export type ChatMessage = z.output<typeof messageSchema>;
export type ModelDescription = z.output<typeof modelSchema>;
export type CacheDescription = z.output<typeof cacheConfigSchema>;
