import { z } from "zod";

const count = z.number().int().nonnegative();

export const systemSchema = z.object({
  version: z.string(),
  startedAt: z.iso.datetime(),
  uptimeSeconds: z.number(),
  ready: z.boolean(),
  node: z.string(),
  pid: z.number().int(),
  memoryBytes: z.number().int(),
  sessions: z.number().int(),
  generations: z.number().int(),
  /** The whole configuration, complete with defaults. */
  config: z.record(z.string(), z.unknown()),
});

/** What `kitty-kv doctor` found. */
export const doctorSchema = z.object({
  checks: z.array(
    z.object({
      name: z.string(),
      status: z.enum(["ok", "failed", "info"]),
      found: z.string(),
      remedy: z.string().optional(),
    }),
  ),
});

export const gpuSchema = z.object({
  name: z.string(),
  /** Percent of the time that it computed. */
  utilization: z.number().nullable(),
  usedBytes: count,
  totalBytes: count,
});

/** One look at everything: the caches of all open sessions, what is written, and the GPUs. */
export const usageSampleSchema = z.object({
  time: z.iso.datetime(),
  sessions: count,
  running: count,
  tokensPerSecond: z.number(),
  tokens: count,
  packedBytes: count,
  fullPrecisionBytes: count,
  denseBytes: count,
  gpus: z.array(gpuSchema),
});

export const usageSchema = z.object({ intervalSeconds: z.number(), samples: z.array(usageSampleSchema) });

export type System = z.output<typeof systemSchema>;
export type Doctor = z.output<typeof doctorSchema>;
export type Check = Doctor["checks"][number];
export type Gpu = z.output<typeof gpuSchema>;
export type UsageSample = z.output<typeof usageSampleSchema>;
export type Usage = z.output<typeof usageSchema>;
