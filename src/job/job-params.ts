import { z } from "zod";

const count = z.number().int().positive();
const text = z.string().min(1);

/** How each prompt of a `generate` job is gone on with; the same fields as `session.generate()` takes. */
const samplingShape = {
  maxNewTokens: count.default(64),
  temperature: z.number().nonnegative().optional(),
  topK: count.optional(),
  topP: z.number().positive().max(1).optional(),
  minP: z.number().min(0).max(1).optional(),
  repetitionPenalty: z.number().positive().optional(),
  seed: z.number().int().optional(),
  stop: z.array(text).max(16).optional(),
};

/** A batch of prompts, from a JSONL file or given here. */
export const generateParamsSchema = z.strictObject({
  /** A JSONL file; each line is a text, or an object with `prompt` or `messages` and, if you like, an `id`. */
  promptsFile: text.optional(),
  /** @default one short prompt, where there is no promptsFile either */
  prompts: z.array(text).min(1).max(10_000).optional(),
  /** How many prompts are generated at once. */
  concurrency: count.max(256).default(8),
  ...samplingShape,
});

/** What `kitty-kv bench latency` measures; `parts`, `shapes` and `prefill` are lists with commas. */
export const latencyParamsSchema = z.strictObject({
  parts: text.optional(),
  shapes: text.default("1x64"),
  newTokens: count.default(8),
  kvBudgetGib: z.number().positive().optional(),
  budgetTokens: count.optional(),
  fill: z.enum(["repeat", "prompt"]).optional(),
  prefill: text.optional(),
  peers: text.optional(),
  chunkTokens: count.optional(),
  timeLimit: z.number().positive().optional(),
});

/** What `kitty-kv simulate` compares: the job's cache on windows of a text. */
export const simulateParamsSchema = z.strictObject({
  /** UTF-8 text, plain or .xz. @default an excerpt of Treasure Island */
  text: text.optional(),
  sequences: count.default(1),
  length: count.default(256),
  verify: z.boolean().default(false),
  /** What carries the error instead: all, or some of layers, heads, channels, settings, positions, by commas. */
  sensitivity: text.optional(),
});

/** What `kitty-kv eval` answers: tasks over the job's preset, beside the 16-bit cache on the same items. */
export const evalParamsSchema = z.strictObject({
  /** Tasks by commas; `offline` is all that need no data, others are lm-evaluation-harness's. */
  tasks: text.default("offline"),
  /** Presets by commas. @default the job's, and fp16 */
  presets: text.optional(),
  /** Items of each task. */
  limit: count.default(2),
  /** Tokens of an item, by commas. */
  lengths: text.default("512"),
  seed: z.number().int().optional(),
  /** UTF-8 text, plain or .xz. @default an excerpt of Treasure Island */
  text: text.optional(),
  /** End a preset's task once it is clearly worse than fp16, or clearly as good. */
  stopEarly: z.boolean().optional(),
  /** Of tasks of the harness: a folder with further task files. */
  includePath: text.optional(),
  /** Of tasks of the harness: by which metric an answer is right. @default the task's first */
  metric: text.optional(),
  /** Of tasks of the harness: answers to each question. @default 1, of the paper's tasks as it had */
  repeats: count.max(1000).optional(),
  /** Of tasks of the harness: most tokens of an answer. @default the task's, or the paper's */
  maxNewTokens: count.optional(),
});

/** A job spec and, by field, the values that its children take: every combination is one child. */
export const sweepParamsSchema = z.strictObject({
  base: z.record(z.string(), z.unknown()).default({ kind: "simulate" }),
  matrix: z.record(text, z.array(z.unknown()).min(1)).default({ preset: ["kitty", "kitty-pro"] }),
});

export type GenerateParams = z.output<typeof generateParamsSchema>;
export type LatencyParams = z.output<typeof latencyParamsSchema>;
export type SimulateParams = z.output<typeof simulateParamsSchema>;
export type EvalParams = z.output<typeof evalParamsSchema>;
export type SweepParams = z.output<typeof sweepParamsSchema>;
