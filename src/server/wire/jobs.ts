import { z } from "zod";
import { JOB_KINDS, jobSpecSchema } from "../../job/job-spec.js";
import { JOB_STATES } from "../../job/job-state.js";

const count = z.number().int().nonnegative();
const time = z.iso.datetime();
const record = z.record(z.string(), z.unknown());

export const jobErrorSchema = z.object({ code: z.string(), message: z.string(), details: record });
const progressSchema = z.object({ done: z.number(), total: z.number() });
const fileSchema = z.object({ name: z.string(), sizeBytes: count, sha256: z.string() });
const resultSchema = z.object({ figures: record, files: z.array(fileSchema) });

/** What a list shows of a job: everything but what may be large. */
export const jobSummarySchema = z.object({
  id: z.string(),
  kind: z.enum(JOB_KINDS),
  name: z.string().nullable(),
  state: z.enum(JOB_STATES),
  priority: z.number().int(),
  parent: z.string().nullable(),
  idempotencyKey: z.string().nullable(),
  attempt: count,
  lostAttempts: count,
  isCancelRequested: z.boolean(),
  progress: progressSchema.nullable(),
  error: jobErrorSchema.nullable(),
  createdAt: time,
  startedAt: time.nullable(),
  finishedAt: time.nullable(),
});

export const jobSchema = jobSummarySchema.extend({ spec: jobSpecSchema, result: resultSchema.nullable() });

export const jobPageSchema = z.object({ jobs: z.array(jobSummarySchema), next: z.string().nullable() });

export const jobLogPageSchema = z.object({
  text: z.string(),
  offset: count,
  nextOffset: count,
  sizeBytes: count,
  isEnd: z.boolean(),
});

/** A spec that would be taken, complete with its defaults, and the same as YAML. */
export const checkedSpecSchema = z.object({ spec: jobSpecSchema, yaml: z.string() });

export type JobKind = (typeof JOB_KINDS)[number];
export type JobState = (typeof JOB_STATES)[number];
export type JobError = z.output<typeof jobErrorSchema>;
export type JobSummary = z.output<typeof jobSummarySchema>;
export type Job = z.output<typeof jobSchema>;
export type JobSpec = z.output<typeof jobSpecSchema>;
export type JobPage = z.output<typeof jobPageSchema>;
export type JobLogPage = z.output<typeof jobLogPageSchema>;
export type CheckedSpec = z.output<typeof checkedSpecSchema>;
