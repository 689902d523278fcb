import { z } from "zod";

/** The names that `kitty_kv.PRESETS` and the command line share. */
export const PRESET_NAMES = ["fp16", "kivi-2", "kivi-2-sink", "kitty", "kitty-pro"] as const;

const bits = z.number().int().min(1).max(16);
const tokenCount = z.number().int().nonnegative();
const durationMs = z
  .number()
  .int()
  .positive()
  .max(2 ** 31 - 1);

/** An explicit cache: a preset, and what differs from it. */
export const cacheSchema = z.strictObject({
  preset: z.enum(PRESET_NAMES).optional(),
  kBits: bits.optional(),
  vBits: bits.optional(),
  boostBits: bits.optional(),
  boostRatio: z.number().min(0).max(1).optional(),
  selection: z.enum(["magnitude", "range", "variance", "random"]).optional(),
  sinkTokens: tokenCount.optional(),
  recentTokens: tokenCount.optional(),
  pageSize: z.number().int().positive().optional(),
  seed: z.number().int().optional(),
});

const workerSchema = z.strictObject({
  python: z.string().min(1).nullable().default(null),
  device: z.string().min(1).default("auto"),
  dtype: z.enum(["auto", "float32", "bfloat16", "float16"]).default("auto"),
  /** Most memory of the keys and values of all sessions of one model and cache configuration; null is no limit. */
  kvMemoryMiB: z.number().int().positive().nullable().default(null),
  heartbeatIntervalMs: durationMs.default(5000),
  heartbeatTimeoutMs: durationMs.default(30_000),
  stepTimeoutMs: durationMs.default(600_000),
  startTimeoutMs: durationMs.default(120_000),
});

/** What `runner: apptainer` and `instance start` run on. */
const apptainerSchema = z.strictObject({
  image: z.string().min(1).nullable().default(null),
  overlay: z.string().min(1).nullable().default(null),
  modelFolders: z.array(z.string().min(1)).default([]),
  nvidia: z.boolean().default(false),
  /** One entry an instance, in turn: the GPUs that are its share. */
  gpus: z.array(z.string().min(1)).default([]),
  network: z.enum(["none", "host"]).default("none"),
  memoryMiB: z.number().int().positive().nullable().default(null),
  cpus: z.number().positive().nullable().default(null),
});

/** How many workers sessions share, and when there are more or fewer of them. */
const poolSchema = z
  .strictObject({
    min: z.number().int().positive().default(1),
    max: z.number().int().positive().optional(),
    sessionsPerWorker: z.number().int().positive().default(8),
    idleTimeoutMs: durationMs.default(60_000),
  })
  .transform(({ max, ...pool }) => ({ ...pool, max: max ?? pool.min }))
  .superRefine(({ min, max: input }, context) => {
    if (input < min)
      context.addIssue({ code: "custom", path: ["max"], message: `must be >= min, ${String(min)}`, input });
  });

const serverSchema = z.strictObject({
  host: z.string().min(1).default("127.0.0.1"),
  port: z.number().int().min(0).max(65_535).default(7717),
});

/** The whole configuration; every key has a default. */
export const configSchema = z.strictObject({
  model: z.string().min(1).nullable().default(null),
  cache: cacheSchema.prefault({}).transform((cache) => ({ preset: "kitty-pro" as const, ...cache })),
  runner: z.enum(["local", "apptainer", "slurm"]).default("local"),
  worker: workerSchema.prefault({}),
  pool: poolSchema.prefault({}),
  apptainer: apptainerSchema.prefault({}),
  server: serverSchema.prefault({}),
});

export type CacheInput = z.input<typeof cacheSchema>;
export type ConfigInput = z.input<typeof configSchema>;
export type Config = z.output<typeof configSchema>;
