import { z } from "zod";
import { JOB_KINDS } from "./job-spec.js";
import { JOB_STATES } from "./job-state.js";

const count = z.number().int().nonnegative();
const details = z.record(z.string(), z.unknown());

const summaryShape = {
  id: z.string(),
  kind: z.enum(JOB_KINDS),
  name: z.string().nullable(),
  state: z.enum(JOB_STATES),
  priority: z.number().int(),
  /** The sweep that it belongs to. */
  parent: z.string().nullable(),
  idempotencyKey: z.string().nullable(),
  /** Attempts begun so far. */
  attempt: count,
  /** How many of them ended because an orchestrator died. */
  lostAttempts: count,
  isCancelRequested: z.boolean(),
  progress: z.object({ done: count, total: count }).nullable(),
  /** Of the last attempt that failed. */
  error: z.object({ code: z.string(), message: z.string(), details }).nullable(),
  createdAt: z.string(),
  startedAt: z.string().nullable(),
  finishedAt: z.string().nullable(),
};

/** `JobSummary` as a schema. */
export const jobSummarySchema = z.looseObject(summaryShape);

/** `Job` as a schema. */
export const jobSchema = z.looseObject({
  ...summaryShape,
  /** The whole spec, with its defaults. */
  spec: z.looseObject({ kind: z.enum(JOB_KINDS) }),
  result: z
    .object({
      /** By kind. */
      figures: details,
      /** In the job's folder. */
      files: z.array(z.object({ name: z.string(), sizeBytes: count, sha256: z.string() })),
    })
    .nullable(),
});

export const jobPageSchema = z.object({ jobs: z.array(jobSummarySchema), next: z.string().nullable() });
export const jobListSchema = z.object({ jobs: z.array(jobSchema) });

export const jobLogPageSchema = z.object({
  text: z.string(),
  offset: count,
  nextOffset: count,
  /** Of the whole log, as it is now. */
  sizeBytes: count,
  /** Whether the job has ended and nothing follows. */
  isEnd: z.boolean(),
});
