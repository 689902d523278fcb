import type { Comparison, PresetRow, ReportDocument, TaskRow } from "../../server/wire/reports.js";
import { formatPercent } from "./format.js";
import { flatten, type FigureTable, type Row, type Scalar } from "./figures.js";

export const BASELINE = "fp16";

/** Names for results that stand on one page: the first column, and of the others what tells equal ones apart. */
export function distinctNames(
  rows: readonly Readonly<Record<string, unknown>>[],
  columns: readonly string[],
): string[] {
  const [first = "", ...others] = columns;
  const names = rows.map((row) => {
    const alike = rows.filter((other) => other[first] === row[first]);
    const telling = others.filter((column) => new Set(alike.map((other) => textOf(other[column]))).size > 1);
    return [textOf(row[first]) || "a model", ...telling.map((column) => textOf(row[column]))].join(", ");
  });
  return names.map((name, at) => {
    const before = names.slice(0, at).filter((other) => other === name).length;
    return before === 0 ? name : `${name} (${String(before + 1)})`;
  });
}

/** The preset below 16 bits with most right answers, the smallest of equal ones. */
export function bestCompressed({ presets }: Comparison): PresetRow | undefined {
  return presets
    .filter(({ preset, accuracy }) => preset !== BASELINE && accuracy !== undefined)
    .sort((a, b) => (b.accuracy ?? 0) - (a.accuracy ?? 0) || a.bits - b.bits)[0];
}

/** 0.0312 -> "0.031"; smaller ones only as what they are smaller than. */
export function formatP(p: number | undefined): string {
  if (p === undefined) return "–";
  return p < 0.001 ? "< 0.001" : p.toFixed(p < 0.0995 ? 3 : 2);
}

/** -0.0469 -> "−4.7"; with the sign that a difference has. */
export function formatSigned(value: number, digits = 1): string {
  const text = Math.abs(value).toFixed(digits);
  return Number(text) === 0 ? text : `${value < 0 ? "−" : "+"}${text}`;
}

/** "91% to 99%" */
export function formatInterval([low, high]: readonly [number, number]): string {
  return `${formatPercent(low)} to ${formatPercent(high)}`;
}

/** Whether a difference from 16 bits is more than chance, by the p value after Holm. */
export function verdict(against: { holmP?: number | undefined; lost?: number | undefined; won?: number | undefined }) {
  const { holmP, lost = 0, won = 0 } = against;
  if (holmP === undefined || holmP >= 0.05) return "open";
  return lost > won ? "worse" : "better";
}

/** What decided the results and where they were found, by the names that people know. */
export function conditionsOf({ run, environments, seeds }: Comparison): [name: string, value: string][] {
  const of = (name: string): string[] => [
    ...new Set(environments.map((environment) => textOf(environment[name])).filter((value) => value !== "")),
  ];
  const found: [string, string][] = [
    ["Model", textOf(run["model"])],
    ["Hardware", of("hardware").join(", ") || textOf(run["device"])],
    ["Computed in", textOf(run["dtype"])],
    ["Text", textOf(run["text"])],
    ["Seeds", seeds.join(", ")],
    ["Kitty KV", textOf(run["kittyKv"])],
    ["Torch", textOf(run["torch"])],
    ["Python", of("python").join(", ")],
    ["Begun", of("date").join(", ")],
  ];
  return found.filter(([, value]) => value !== "");
}

/** Tasks by presets: a row a task, all of its lengths together. */
export function taskMatrix({ presets, tasks }: Comparison): { task: string; cells: (TaskRow | undefined)[] }[] {
  const names = presets.map(({ preset }) => preset);
  const pooled = tasks.filter(({ length }) => length === null);
  return [...new Set(pooled.map(({ task }) => task))].map((task) => ({
    task,
    cells: names.map((preset) => pooled.find((row) => row.task === task && row.preset === preset)),
  }));
}

export interface LatencyGroup {
  name: string;
  rows: readonly Row[];
}

/** What was measured alike, so that its rows may stand side by side: one part at one batch and length. */
export function latencyGroups(rows: readonly Readonly<Record<string, unknown>>[]): LatencyGroup[] {
  const groups = new Map<string, Row[]>();
  for (const row of rows) {
    const flat: Record<string, Scalar> = {};
    flatten("", row, flat);
    const [part, batch, tokens] = ["part", "batch", "promptTokens"].map((column) => textOf(flat[column]) || "?");
    const name = `${part ?? ""} · ${batch ?? ""} × ${tokens ?? ""} tokens`;
    groups.set(name, [...(groups.get(name) ?? []), flat]);
  }
  return [...groups].map(([name, found]) => ({ name, rows: found }));
}

/** One row a simulation, in the order and with the names that a table wants. */
export function simulationTable(simulations: ReportDocument["simulations"]): FigureTable {
  const rows = simulations.map((simulation) => {
    const flat: Record<string, Scalar> = {};
    flatten("", simulation, flat);
    const columns: Record<string, Scalar | undefined> = {
      model: flat["model"],
      preset: flat["cache.preset"],
      keyBits: flat["cache.kBits"],
      valueBits: flat["cache.vBits"],
      boostRatio: flat["cache.boostRatio"],
      selection: flat["cache.selection"],
      tokens: flat["predictedTokens"],
      klDivergence: flat["klDivergence"],
      agreement: flat["top1Agreement"],
      bitsPerByte: flat["simulated.bitsPerByte"],
      bitsPerByteOfFp16: flat["baseline.bitsPerByte"],
      equalToThePackedCache: flat["verification.isEqual"],
    };
    return Object.fromEntries(Object.entries(columns).map(([name, value]) => [name, value ?? null]));
  });
  const columns = Object.keys(rows[0] ?? {});
  return { name: "simulations", columns: columns.filter((column) => rows.some((row) => row[column] !== null)), rows };
}

/** Plain values as text; a table or nothing is nothing. */
export function textOf(value: unknown): string {
  return typeof value === "string" || typeof value === "number" ? String(value) : "";
}
