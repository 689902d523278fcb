/** As much of JSON schema as the server's job specs use. */
export interface JsonSchema {
  type?: string;
  description?: string;
  const?: unknown;
  enum?: readonly unknown[];
  default?: unknown;
  properties?: Readonly<Record<string, JsonSchema>>;
  items?: JsonSchema;
  anyOf?: readonly JsonSchema[];
  oneOf?: readonly JsonSchema[];
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
  required?: readonly string[];
}

export type FieldType = "text" | "integer" | "number" | "boolean" | "choice" | "lines" | "json";

/** One input of the form. */
export interface Field {
  /** Such as `params.maxNewTokens`. */
  path: string;
  type: FieldType;
  choices: readonly string[];
  /** What the server takes where it is left out, as text. */
  fallback: string;
  hint: string | undefined;
  schema: JsonSchema;
}

/** What is in the inputs, by path; an empty text is left out of the spec. */
export type FormValues = Readonly<Record<string, string>>;

/** The schema of one kind of job out of that of all. */
export function schemaOfKind(all: JsonSchema, kind: string): JsonSchema | undefined {
  return all.oneOf?.find(({ properties }) => properties?.["kind"]?.const === kind);
}

/** The inputs for a schema: an object's properties are inputs of their own. */
export function readFields(schema: JsonSchema, prefix = ""): Field[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, property]) => {
    const path = prefix + name;
    if (path === "kind") return [];
    const inner = withoutNull(property);
    return inner.properties === undefined ? [toField(path, inner, property)] : readFields(inner, `${path}.`);
  });
}

function withoutNull(schema: JsonSchema): JsonSchema {
  const others = (schema.anyOf ?? []).filter(({ type }) => type !== "null");
  const [only] = others;
  return others.length === 1 && only !== undefined ? only : schema;
}

function toField(path: string, schema: JsonSchema, outer: JsonSchema): Field {
  const fallback = outer.default ?? schema.default;
  return {
    ...{ path, schema, type: typeOf(schema), choices: (schema.enum ?? []).map(String) },
    fallback: fallback === undefined ? "" : toText(fallback, typeOf(schema)),
    hint: outer.description ?? schema.description,
  };
}

function typeOf({ type, enum: choices, items }: JsonSchema): FieldType {
  if (choices !== undefined) return "choice";
  if (type === "array") return items?.type === "string" ? "lines" : "json";
  if (type === "integer" || type === "number" || type === "boolean") return type;
  return type === "string" ? "text" : "json";
}

function toText(value: unknown, type: FieldType): string {
  if (type === "lines" && Array.isArray(value)) return value.join("\n");
  return typeof value === "string" ? value : JSON.stringify(value, undefined, type === "json" ? 2 : 0);
}

/** What is wrong with an input, said while it is typed; the server checks everything once more. */
export function fieldError({ type, schema }: Field, text: string): string | undefined {
  if (text.trim() === "") return undefined;
  if (type === "integer" || type === "number") return numberError(text, schema, type === "integer");
  if (type === "json") return jsonError(text);
  if (type === "lines") return undefined;
  if (schema.maxLength !== undefined && text.length > schema.maxLength) {
    return `At most ${String(schema.maxLength)} characters.`;
  }
  return undefined;
}

function numberError(text: string, schema: JsonSchema, isWhole: boolean): string | undefined {
  const value = Number(text);
  if (!Number.isFinite(value)) return "Must be a number.";
  if (isWhole && !Number.isSafeInteger(value)) return "Must be a whole number.";
  const { minimum, maximum, exclusiveMinimum } = schema;
  if (exclusiveMinimum !== undefined && value <= exclusiveMinimum)
    return `Must be more than ${String(exclusiveMinimum)}.`;
  if (minimum !== undefined && value < minimum) return `Must be at least ${String(minimum)}.`;
  if (maximum !== undefined && value > maximum) return `Must be at most ${String(maximum)}.`;
  return undefined;
}

function jsonError(text: string): string | undefined {
  try {
    JSON.parse(text);
    return undefined;
  } catch (error) {
    return `Must be JSON: ${error instanceof Error ? error.message : String(error)}.`;
  }
}

/** The spec that the inputs say; fields that were left alone are left out, so that the server's defaults hold. */
export function toSpec(kind: string, fields: readonly Field[], values: FormValues): Record<string, unknown> {
  const spec: Record<string, unknown> = { kind };
  for (const field of fields) {
    const text = values[field.path] ?? "";
    if (text.trim() !== "" && fieldError(field, text) === undefined)
      put(spec, field.path.split("."), toValue(field, text));
  }
  return spec;
}

function toValue({ type }: Field, text: string): unknown {
  if (type === "integer" || type === "number") return Number(text);
  if (type === "boolean") return text === "true";
  if (type === "json") return JSON.parse(text) as unknown;
  if (type === "lines") return text.split("\n").filter((line) => line.trim() !== "");
  return text;
}

function put(target: Record<string, unknown>, [name = "", ...rest]: readonly string[], value: unknown): void {
  if (rest.length === 0) {
    target[name] = value;
    return;
  }
  const inner = (target[name] ?? {}) as Record<string, unknown>;
  target[name] = inner;
  put(inner, rest, value);
}
