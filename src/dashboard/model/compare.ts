import type { Job } from "../../server/wire/jobs.js";
import { flatten, readFigures, type Row, type Scalar } from "./figures.js";

export interface ComparedRow {
  name: string;
  values: readonly (Scalar | undefined)[];
  isDifferent: boolean;
}

/** What several jobs were told and what they found, name by name. */
export function compare(jobs: readonly Job[]): { spec: ComparedRow[]; figures: ComparedRow[] } {
  return {
    spec: toRows(jobs.map(({ spec }) => flat(spec))),
    figures: toRows(jobs.map(({ result }) => readFigures(result?.figures ?? {}).values)),
  };
}

function flat(value: unknown): Row {
  const row: Record<string, Scalar> = {};
  flatten("", value, row);
  return row;
}

function toRows(rows: readonly Row[]): ComparedRow[] {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  return names.map((name) => {
    const values = rows.map((row) => row[name]);
    return { name, values, isDifferent: new Set(values).size > 1 };
  });
}
