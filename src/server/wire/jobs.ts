import { z } from "zod";
import type { jobLogPageSchema, jobPageSchema, jobSchema, jobSummarySchema } from "../../job/job-schemas.js";
import { jobSpecSchema, type JOB_KINDS } from "../../job/job-spec.js";
import type { JOB_STATES } from "../../job/job-state.js";

/** A spec that would be taken, complete with its defaults, and as YAML as it was given. */
export const checkedSpecSchema = z.object({ spec: jobSpecSchema, yaml: z.string() });

export type JobKind = (typeof JOB_KINDS)[number];
export type JobState = (typeof JOB_STATES)[number];
export type JobSummary = z.output<typeof jobSummarySchema>;
export type JobError = NonNullable<JobSummary["error"]>;
export type Job = z.output<typeof jobSchema>;
export type JobPage = z.output<typeof jobPageSchema>;
export type JobLogPage = z.output<typeof jobLogPageSchema>;
export type CheckedSpec = z.output<typeof checkedSpecSchema>;
