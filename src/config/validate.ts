import type { z } from "zod";
import { ConfigError } from "../errors.js";
import { nearestName } from "../util/nearest-name.js";
import { PRESET_NAMES } from "./schema.js";

export interface ValidateOptions {
  /** What was attempted, for the error: `read config "local.yaml"`. */
  attempt: string;
  /** Where in a file a path stands, as text to append. */
  locate?: (path: readonly PropertyKey[]) => string;
}

/**
 * Checks a value that a person wrote.
 * @throws ConfigError in one sentence that names the key, what was found and what is wanted
 */
export function validate<S extends z.ZodType>(schema: S, value: unknown, options: ValidateOptions): z.output<S> {
  const parsed = schema.safeParse(value, { reportInput: true });
  if (parsed.success) return parsed.data;
  // A key that is missing is often the one that was misspelt.
  const { issues } = parsed.error;
  const issue = issues.find(({ code }) => code === "unrecognized_keys") ?? issues[0];
  if (issue === undefined) throw parsed.error;
  const path = issue.code === "unrecognized_keys" ? [...issue.path, issue.keys[0] ?? ""] : issue.path;
  const { code, text, details } = describeIssue(issue, schema);
  const place = options.locate?.(path) ?? "";
  throw new ConfigError(`Cannot ${options.attempt}${place}: ${text}`, {
    code,
    details: { ...details, path: path.map(String).join(".") },
  });
}

type Issue = z.core.$ZodIssue;
type Described = { code: string; text: string; details: Record<string, unknown> };

function describeIssue(issue: Issue, schema: z.ZodType): Described {
  const name = issue.path.map(String).join(".");
  if (issue.code === "unrecognized_keys") return describeUnknownKey(issue.keys[0] ?? "", knownKeys(schema, issue.path));
  if (issue.path.at(-1) === "preset" && typeof issue.input === "string") return describePreset(issue.input);
  if (issue.code === "invalid_value" && issue.path.length > 0) {
    const suggestion = typeof issue.input === "string" ? nearestName(issue.input, issue.values.map(String)) : undefined;
    const hint = suggestion === undefined ? "" : `, did you mean ${quote(suggestion)}?`;
    const wanted = issue.values.map(String).join(", ");
    return wrong(`${name} must be one of ${wanted}, got ${show(issue.input)}${hint}`, { suggestion });
  }
  const subject = name === "" ? "it" : name;
  return wrong(`${subject} ${WANTED[issue.code]?.(issue) ?? issue.message}, got ${show(issue.input)}`, {});
}

const WANTED: Record<string, (issue: Issue) => string | undefined> = {
  invalid_type: (issue) => (issue.code === "invalid_type" ? `must be ${article(issue.expected)}` : undefined),
  too_small: (issue) =>
    issue.code === "too_small"
      ? `must be ${issue.inclusive === false ? ">" : ">="} ${bound(issue, issue.minimum)}`
      : undefined,
  too_big: (issue) =>
    issue.code === "too_big"
      ? `must be ${issue.inclusive === false ? "<" : "<="} ${bound(issue, issue.maximum)}`
      : undefined,
};

function bound(issue: { origin: string }, limit: number | bigint): string {
  if (issue.origin === "string") return `${String(limit)} characters`;
  return issue.origin === "array" ? `${String(limit)} items` : String(limit);
}

function article(type: string): string {
  if (type === "int") return "a whole number";
  return /^[aeiou]/.test(type) ? `an ${type}` : `a ${type}`;
}

function describeUnknownKey(key: string, known: readonly string[]): Described {
  const suggestion = nearestName(key, known);
  const hint = suggestion === undefined ? `known keys are ${known.join(", ")}` : `did you mean ${quote(suggestion)}?`;
  return wrong(`unknown key ${quote(key)}, ${hint}`, { key, suggestion });
}

function describePreset(preset: string): Described {
  const suggestion = nearestName(preset, PRESET_NAMES);
  const hint = suggestion === undefined ? "" : `did you mean ${quote(suggestion)}? `;
  const text = `unknown preset ${quote(preset)}, ${hint}The presets are ${PRESET_NAMES.join(", ")}`;
  return {
    code: "unknown_preset",
    text: suggestion === undefined ? text.replace("The presets", "the presets") : text,
    details: { preset, suggestion, known: PRESET_NAMES },
  };
}

function wrong(text: string, details: Record<string, unknown>): Described {
  const kept = Object.entries(details).filter(([, value]) => value !== undefined);
  return { code: "invalid_argument", text, details: Object.fromEntries(kept) };
}

/** The keys of the object schema at a path, through defaults and optionals. */
function knownKeys(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  let current = unwrap(schema);
  for (const key of path) current = unwrap(childSchema(current, key));
  return Object.keys((current as z.ZodObject).shape);
}

/** What a list's items, a record's values or an object's field must be. */
function childSchema(schema: z.ZodType, key: PropertyKey): z.ZodType {
  const { def } = schema as unknown as { def: { element?: z.ZodType; valueType?: z.ZodType } };
  return def.element ?? def.valueType ?? ((schema as z.ZodObject).shape[String(key)] as z.ZodType);
}

function unwrap(schema: z.ZodType): z.ZodType {
  let { def } = schema as unknown as { def: { type: string; innerType?: z.ZodType; in?: z.ZodType } };
  let current = schema;
  while (def.type !== "object") {
    const inner = def.innerType ?? def.in;
    if (inner === undefined) return current;
    current = inner;
    def = (current as unknown as { def: typeof def }).def;
  }
  return current;
}

function quote(text: string): string {
  return JSON.stringify(text);
}

function show(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "number" || typeof value === "bigint" || typeof value === "boolean") return String(value);
  if (typeof value !== "object" && typeof value !== "string") return typeof value;
  const text = JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
