import { z } from "zod";
import { JOB_KINDS } from "./job-spec.js";
import { JOB_STATES } from "./job-state.js";

const count = z.number().int().nonnegative();
const record = z.record(z.string(), z.unknown());
const interval = z.tuple([z.number(), z.number()]);
const difference = z.object({ difference: z.number(), low: z.number(), high: z.number() });

const reportedShape = {
  id: z.string(),
  kind: z.enum(JOB_KINDS),
  name: z.string().nullable(),
  state: z.enum(JOB_STATES),
};

const reportedJobSchema = z.object({
  ...reportedShape,
  /** Whether it has not succeeded, so that what it has answered so far is all there is. */
  isPartial: z.boolean(),
});

const leftOutJobSchema = z.object({ ...reportedShape, reason: z.string() });

const answersShape = {
  items: count,
  correct: count.optional(),
  accuracy: z.number().optional(),
  accuracyInterval: interval.optional(),
};

const pairsShape = {
  items: count,
  lost: count.optional(),
  won: count.optional(),
  mcnemarP: z.number().optional(),
  /** After Holm, for all that is compared beside it. */
  holmP: z.number().optional(),
};

const presetRowSchema = z.looseObject({
  preset: z.string(),
  /** Of a number in the cache, in the longest questions. */
  bits: z.number(),
  ...answersShape,
  answers: count.optional(),
  againstFp16: z.looseObject({ ...pairsShape, accuracy: difference }).optional(),
  bookNats: z.object({ more: z.number(), low: z.number(), high: z.number() }).optional(),
});

const taskRowSchema = z.looseObject({
  task: z.string(),
  /** Null is all lengths together. */
  length: count.nullable(),
  preset: z.string(),
  compression: z.number(),
  ...answersShape,
  meanScore: z.number().optional(),
  natsPerToken: z.number().optional(),
  bitsPerByte: z.number().optional(),
  againstFp16: z.looseObject({ ...pairsShape, natsPerToken: difference.optional() }).optional(),
  decided: z.object({ decision: z.enum(["worse", "equal"]), afterItems: count }).optional(),
});

const comparisonSchema = z.looseObject({
  /** What decided the results: model, computer type, versions. */
  run: record,
  seeds: z.array(z.number()),
  /** Where they were answered. */
  environments: z.array(record),
  presets: z.array(presetRowSchema),
  tasks: z.array(taskRowSchema),
  /** The presets that no other beats in bits without losing accuracy. */
  unbeaten: z.array(z.string()),
  commands: z.array(z.string()),
});

/** A report for programs, as `kitty_kv.eval.reporting` makes it. */
const reportDocumentSchema = z.looseObject({
  date: z.string(),
  /** Results that differ in presets, tasks, items or seed alone are one. */
  evaluations: z.array(comparisonSchema),
  latencies: z.array(z.looseObject({ environment: record, rows: z.array(record), command: z.string().nullable() })),
  simulations: z.array(z.looseObject({ command: z.string() })),
  sensitivities: z.array(z.looseObject({ command: z.string(), sensitivity: record })),
  /** The paper's figures, which stand beside as references. */
  published: z.object({
    source: z.string(),
    columns: z.array(z.string()),
    rows: z.array(z.array(z.union([z.string(), z.number(), z.null()]))),
  }),
});

export const jobReportSchema = z.object({
  /** Whose results it has. */
  jobs: z.array(reportedJobSchema),
  /** Of sweeps, the children that have none yet. */
  leftOut: z.array(leftOutJobSchema),
  document: reportDocumentSchema,
  /** The same report as files: one HTML page that needs nothing else, Markdown, and the evaluations' figures as CSV. */
  files: z.object({ html: z.string(), markdown: z.string(), csv: z.string() }),
});

export type ReportedJob = z.output<typeof reportedJobSchema>;
export type LeftOutJob = z.output<typeof leftOutJobSchema>;
export type PresetRow = z.output<typeof presetRowSchema>;
export type TaskRow = z.output<typeof taskRowSchema>;
export type Comparison = z.output<typeof comparisonSchema>;
export type ReportDocument = z.output<typeof reportDocumentSchema>;
export type JobReport = z.output<typeof jobReportSchema>;
