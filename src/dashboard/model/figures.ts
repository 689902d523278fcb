import { formatBytes, formatNumber } from "./format.js";

export type Scalar = string | number | boolean | null;
/** Values by their names, those inside others as `outer.inner`. */
export type Row = Readonly<Record<string, Scalar>>;

export interface FigureTable {
  name: string;
  columns: readonly string[];
  rows: readonly Row[];
}

/** A job's figures for people: single values, and lists of rows as tables. */
export interface Figures {
  values: Row;
  tables: readonly FigureTable[];
}

/** Takes figures of whatever kind of job apart. */
export function readFigures(figures: Readonly<Record<string, unknown>>): Figures {
  const values: Record<string, Scalar> = {};
  const tables: FigureTable[] = [];
  for (const [name, value] of Object.entries(figures)) {
    if (isRows(value)) tables.push(toTable(name, value));
    else flatten(name, value, values);
  }
  return { values, tables };
}

/** One value as `outer.inner: value`; a list of plain values is one text. */
export function flatten(name: string, value: unknown, into: Record<string, Scalar>): void {
  if (Array.isArray(value))
    into[name] = value.map((item) => (isScalar(item) ? String(item) : JSON.stringify(item))).join(", ");
  else if (typeof value === "object" && value !== null) {
    for (const [key, inner] of Object.entries(value)) flatten(name === "" ? key : `${name}.${key}`, inner, into);
  } else if (isScalar(value)) into[name] = value;
}

/** Those columns that are worth a chart: numbers that are not all the same. */
export function chartColumns({ columns, rows }: FigureTable): string[] {
  return columns.filter((column) => {
    const numbers = rows.map((row) => row[column]).filter((value) => typeof value === "number");
    return numbers.length > 1 && new Set(numbers).size > 1;
  });
}

/** What tells the rows of a table apart, for the chart: the texts and whole numbers that come before any measurement. */
export function rowLabels({ columns, rows }: FigureTable): string[] {
  const telling = columns.filter((column) => {
    const values = rows.map((row) => row[column] ?? null);
    if (column === "id" || new Set(values).size < 2) return false;
    return values.every((value) => typeof value === "string" || value === null) || INPUTS.test(column);
  });
  return rows.map((row, index) => {
    const parts = telling.map((column) => labelPart(column, row[column])).filter((part) => part !== "");
    return parts.length === 0 ? `Row ${String(index + 1)}` : parts.join(" · ");
  });
}

const INPUTS = /^(values\..*|batch|promptTokens|contextTokens|length|layer)$/;

function labelPart(column: string, value: Scalar | undefined): string {
  if (value === null || value === undefined || value === "") return "";
  if (typeof value === "string") return value.slice(0, 60);
  return `${titleOf(column.replace(/^values\./, "")).toLowerCase()} ${String(value)}`;
}

/** "timeToFirstTokenMs" -> "Time to first token"; the unit goes with the value. */
export function titleOf(name: string): string {
  const words = name
    .split(".")
    .map((part) => part.replace(/(Ms|Bytes|Seconds)$/, "").replace(/([a-z0-9])([A-Z])/g, "$1 $2"))
    .filter((part) => part !== "")
    .join(" · ");
  const text = (words === "" ? name : words).replace(/\bkl\b/i, "KL");
  return text.charAt(0).toUpperCase() + text.slice(1).replace(/ [A-Z](?=[a-z])/g, (letter) => letter.toLowerCase());
}

/** A value with the unit that its name tells. */
export function formatValue(name: string, value: Scalar | undefined): string {
  if (value === null || value === undefined) return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "string") return value;
  if (name.endsWith("Bytes") && !/PerByte/i.test(name)) return formatBytes(value);
  if (name.endsWith("Ms")) return `${formatNumber(value)} ms`;
  if (name.endsWith("Seconds")) return `${formatNumber(value)} s`;
  if (/(compression|speedup)$/i.test(name)) return `${formatNumber(value)}×`;
  return formatNumber(value);
}

function isRows(value: unknown): value is readonly Record<string, unknown>[] {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.every((item) => typeof item === "object" && item !== null && !Array.isArray(item))
  );
}

function toTable(name: string, items: readonly Record<string, unknown>[]): FigureTable {
  const rows = items.map((item) => {
    const row: Record<string, Scalar> = {};
    for (const [key, value] of Object.entries(item)) {
      // A sweep's child brings all of its figures; tables inside tables are its own page's.
      if (!isRows(value)) flatten(key === "figures" ? "" : key, withoutRows(value), row);
    }
    return row;
  });
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  return { name, columns: columns.filter((column) => rows.some((row) => (row[column] ?? null) !== null)), rows };
}

function withoutRows(value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).filter(([, inner]) => !isRows(inner)));
}

function isScalar(value: unknown): value is Scalar {
  return value === null || ["string", "number", "boolean"].includes(typeof value);
}
