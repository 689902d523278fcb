import { z } from "zod";
import { cacheSchema } from "../config/schema.js";
import { validate } from "../config/validate.js";
import { checkEval } from "./check-eval.js";
import {
  evalParamsSchema,
  generateParamsSchema,
  latencyParamsSchema,
  simulateParamsSchema,
  sweepParamsSchema,
} from "./job-params.js";

export const JOB_KINDS = ["generate", "latency", "simulate", "eval", "sweep"] as const;
export type JobKind = (typeof JOB_KINDS)[number];

const count = z.number().int().positive();

const resourcesSchema = z.strictObject({
  gpus: z.number().int().nonnegative().optional(),
  cpus: count.optional(),
  memoryMiB: count.optional(),
  timeLimitMinutes: z.number().positive().max(525_600).optional(),
});

const retrySchema = z.strictObject({
  /** Attempts in all; 1 is no retry. */
  maxAttempts: count.max(100).default(3),
  /** Wait before the second attempt; each further wait is twice as long. */
  backoffMs: z.number().int().nonnegative().max(3_600_000).default(1000),
});

/** Letters, digits, dashes and dots; starts with a letter or digit, so that it is never a path or a flag. */
export const jobIdSchema = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9.-]{0,99}$/, "must be a job's id");

function specSchema<Kind extends string, Params extends z.ZodType>(kind: Kind, params: Params) {
  return z.strictObject({
    kind: z.literal(kind),
    name: z.string().min(1).max(200).optional(),
    /** A folder or hub id; null is the bundled model. */
    model: z.string().min(1).nullable().optional(),
    cache: cacheSchema.optional(),
    params,
    resources: resourcesSchema.prefault({}),
    retry: retrySchema.prefault({}),
    runner: z.enum(["local", "apptainer", "slurm"]).optional(),
    /** Higher ones start first; equal ones in the order of their submission. */
    priority: z.number().int().min(-1000).max(1000).default(0),
    /** Ids of jobs that must succeed first; when one of them ends otherwise this job fails. */
    dependsOn: z.array(jobIdSchema).max(1000).default([]),
  });
}

/** One schema a kind, so that an unknown key of `params` is told from those that the kind has. */
const SPEC_SCHEMAS = {
  generate: specSchema("generate", generateParamsSchema.prefault({})),
  latency: specSchema("latency", latencyParamsSchema.prefault({})),
  simulate: specSchema("simulate", simulateParamsSchema.prefault({})),
  eval: specSchema("eval", evalParamsSchema.prefault({})),
  sweep: specSchema("sweep", sweepParamsSchema.prefault({})),
};

/** All kinds in one schema, for documents such as OpenAPI; `parseJobSpec` says better what is wrong. */
export const jobSpecSchema = z.discriminatedUnion("kind", [
  SPEC_SCHEMAS.generate,
  SPEC_SCHEMAS.latency,
  SPEC_SCHEMAS.simulate,
  SPEC_SCHEMAS.eval,
  SPEC_SCHEMAS.sweep,
]);

export type JobSpecInput = z.input<typeof jobSpecSchema>;
export type JobSpec = z.output<typeof jobSpecSchema>;

const kindSchema = z.looseObject({ kind: z.enum(JOB_KINDS) });

/**
 * Checks a job spec and completes it with defaults; reads no file.
 * @throws ConfigError that names the wrong field and the nearest known one
 */
export function parseJobSpec(input: unknown, attempt = "submit this job"): JobSpec {
  const { kind } = validate(kindSchema, input, { attempt });
  const spec = validate(SPEC_SCHEMAS[kind], input, { attempt });
  if (spec.kind === "eval") checkEval(spec.params, attempt);
  return spec;
}
