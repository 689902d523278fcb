import type { Field, FormValues } from "../model/schema-form.js";
import { KINDS } from "../model/job-query.js";
import type { SpecCheck } from "../state/use-checked-spec.js";
import { Card } from "./card.js";
import { SchemaInput } from "./schema-input.js";

interface JobFormProps {
  kind: string;
  fields: readonly Field[];
  values: FormValues;
  check: SpecCheck;
  onKind: (kind: string) => void;
  onValues: (change: (values: FormValues) => FormValues) => void;
}

const KIND_HINTS: Readonly<Record<string, string>> = {
  generate: "Goes on from a batch of prompts.",
  latency: "Measures time and memory, beside other caches.",
  simulate: "Compares the cache with 16 bits on a text.",
  eval: "Answers tasks over presets, with statistics.",
  sweep: "Makes one job of every combination of values.",
};

/** The inputs of one kind of job; the usual ones first, the rest folded away. */
export function JobForm({ kind, fields, values, check, onKind, onValues }: JobFormProps) {
  const isMain = ({ path }: Field): boolean =>
    ["name", "model", "cache.preset"].includes(path) || path.startsWith("params.");
  const render = (field: Field) => (
    <SchemaInput
      key={`${kind}.${field.path}`}
      field={field}
      value={values[field.path] ?? ""}
      error={isOf(field, check) ? check.error : undefined}
      onValue={(value) => {
        onValues((before) => ({ ...before, [field.path]: value }));
      }}
    />
  );
  return (
    <Card title="Job">
      <fieldset class="kinds">
        <legend class="hidden">Kind</legend>
        {KINDS.map((name) => (
          <label key={name} class="kind">
            <input
              type="radio"
              name="kind"
              checked={kind === name}
              onChange={() => {
                onKind(name);
              }}
            />
            <span class="kind-name">{name}</span>
            <span class="field-hint">{KIND_HINTS[name]}</span>
          </label>
        ))}
      </fieldset>
      <div class="form-grid">{fields.filter(isMain).map(render)}</div>
      <details>
        <summary>Cache, resources, retries and order</summary>
        <div class="form-grid">{fields.filter((field) => !isMain(field)).map(render)}</div>
      </details>
    </Card>
  );
}

/** An error may be of something inside the field, such as one of its lines. */
function isOf({ path }: Field, { path: wrong }: SpecCheck): boolean {
  return wrong !== undefined && (wrong === path || wrong.startsWith(`${path}.`));
}
