import { validate } from "../config/validate.js";
import { cacheSchema } from "../config/schema.js";
import { ConfigError } from "../errors.js";
import { nearestName } from "../util/nearest-name.js";
import {
  evalParamsSchema,
  generateParamsSchema,
  latencyParamsSchema,
  simulateParamsSchema,
  sweepParamsSchema,
  type SweepParams,
} from "./job-params.js";
import { parseJobSpec, type JobSpec } from "./job-spec.js";

const MAX_CHILDREN = 1000;
const TOP_LEVEL = ["name", "model", "priority", "runner"];
const PARAMS: Readonly<Record<string, readonly string[]>> = {
  generate: Object.keys(generateParamsSchema.shape),
  latency: Object.keys(latencyParamsSchema.shape),
  simulate: Object.keys(simulateParamsSchema.shape),
  eval: Object.keys(evalParamsSchema.shape),
};

/** One child of a sweep: the values it has of the matrix, and its whole spec. */
export interface SweepChild {
  values: Readonly<Record<string, unknown>>;
  spec: JobSpec;
}

/**
 * All combinations of a sweep's matrix, the last field changing fastest. A field is `preset` or another one of the
 * cache, one of the spec (`model`), one of its params, or written out (`resources.gpus`).
 * @throws ConfigError for a field that the base's kind does not have, a value that it does not take, too many children
 */
export function expandSweep(params: SweepParams, attempt = "submit this sweep"): SweepChild[] {
  const { base, matrix } = validate(sweepParamsSchema, params, { attempt });
  const { kind } = parseJobSpec(base, `${attempt}: params.base`);
  if (kind === "sweep") {
    throw new ConfigError(`Cannot ${attempt}: params.base.kind must be another kind, got "sweep"`, {
      details: { path: "params.base.kind" },
    });
  }
  const fields = Object.entries(matrix).map(([field, values]) => ({
    field,
    values,
    path: pathOf(field, kind, attempt),
  }));
  const count = fields.reduce((product, { values }) => product * values.length, 1);
  if (count > MAX_CHILDREN) {
    throw new ConfigError(
      `Cannot ${attempt}: params.matrix has ${String(count)} combinations, at most ${String(MAX_CHILDREN)} are allowed; make several sweeps`,
      { details: { path: "params.matrix", combinations: count, limit: MAX_CHILDREN } },
    );
  }
  return Array.from({ length: count }, (_, index) => childAt(index, fields, base, attempt));
}

interface Field {
  field: string;
  values: readonly unknown[];
  path: readonly string[];
}

function childAt(
  index: number,
  fields: readonly Field[],
  base: Readonly<Record<string, unknown>>,
  attempt: string,
): SweepChild {
  let rest = index;
  const values: Record<string, unknown> = {};
  const spec = structuredClone(base);
  for (const { field, values: choices, path } of [...fields].reverse()) {
    values[field] = choices[rest % choices.length];
    rest = Math.floor(rest / choices.length);
    set(spec, path, values[field]);
  }
  const inOrder = Object.fromEntries(fields.map(({ field }) => [field, values[field]]));
  return { values: inOrder, spec: parseJobSpec(spec, `${attempt} (child ${String(index)})`) };
}

function pathOf(field: string, kind: string, attempt: string): readonly string[] {
  if (field.includes(".")) return field.split(".");
  const params = PARAMS[kind] ?? [];
  const cache = Object.keys(cacheSchema.shape);
  if (TOP_LEVEL.includes(field)) return [field];
  // A simulation has no seed of its own; a generation's is of its sampling, an evaluation's of its questions, so the kind's own fields come first.
  if (params.includes(field)) return ["params", field];
  if (cache.includes(field)) return ["cache", field];
  const known = [...TOP_LEVEL, ...params, ...cache];
  const suggestion = nearestName(field, known);
  const hint = suggestion === undefined ? `known ones are ${known.join(", ")}` : `did you mean "${suggestion}"?`;
  throw new ConfigError(`Cannot ${attempt}: unknown field ${JSON.stringify(field)} in params.matrix, ${hint}`, {
    details: { key: field, suggestion, path: `params.matrix.${field}` },
  });
}

function set(target: Record<string, unknown>, path: readonly string[], value: unknown): void {
  const [key = "", ...rest] = path;
  // Own properties only: "__proto__" is a key like any other, which the schema then refuses.
  const define = (inner: unknown): void => {
    Object.defineProperty(target, key, { value: inner, enumerable: true, writable: true, configurable: true });
  };
  if (rest.length === 0) {
    define(value);
    return;
  }
  const inner = Object.hasOwn(target, key) ? target[key] : undefined;
  const next = typeof inner === "object" && inner !== null ? (inner as Record<string, unknown>) : {};
  define(next);
  set(next, rest, value);
}
