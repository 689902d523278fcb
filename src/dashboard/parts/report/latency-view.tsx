import { useState } from "preact/hooks";
import type { ReportDocument } from "../../../server/wire/reports.js";
import { flatten, formatValue, type Row, type Scalar } from "../../model/figures.js";
import { latencyGroups, textOf } from "../../model/report.js";
import { BarList } from "../bar-list.js";
import { Card } from "../card.js";
import { CommandList } from "./command-list.js";
import { Conditions } from "./conditions.js";
import { RowsTable } from "../figure-table.js";

const CHARTS: readonly [column: string, title: string][] = [
  ["tokensPerSecond", "Tokens/s"],
  ["firstTokenMs", "Time to first token"],
  ["stepMs", "One step"],
  ["cacheBytes", "Cache"],
  ["peakBytes", "Peak memory"],
];
const NAMES: readonly [key: string, name: string][] = [
  ["hardware", "Hardware"],
  ["dtype", "Computed in"],
  ["torch", "Torch"],
  ["transformers", "Transformers"],
  ["date", "Begun"],
];

/** What `bench latency` measured: memory, throughput and first tokens, cache beside cache at one shape. */
export function LatencyView({ name, latency }: { name: string; latency: ReportDocument["latencies"][number] }) {
  const { environment, rows } = latency;
  const groups = latencyGroups(rows);
  const measured = groups.filter((group) => CHARTS.some(([column]) => hasNumbers(group.rows, column)));
  const [chosen, setChosen] = useState(measured[0]?.name);
  const group = measured.find(({ name }) => name === chosen) ?? measured[0];
  const missing = group?.rows.filter((row) => textOf(row["reason"]) !== "") ?? [];
  const values = NAMES.map(([key, name]): [string, string] => [name, textOf(environment[key])]);
  return (
    <Card
      title={`Speed and memory of ${name}`}
      aside={
        measured.length < 2 ? (
          <span class="muted">{group?.name}</span>
        ) : (
          <label class="inline-field">
            <span class="muted">At</span>
            <select
              value={group?.name}
              onChange={({ currentTarget }) => {
                setChosen(currentTarget.value);
              }}
            >
              {measured.map(({ name }) => (
                <option key={name} value={name}>
                  {name}
                </option>
              ))}
            </select>
          </label>
        )
      }
    >
      {group === undefined ? (
        <p class="muted">Nothing could be measured; the table says why.</p>
      ) : (
        <div class="report-charts">
          {CHARTS.filter(([column]) => hasNumbers(group.rows, column)).map(([column, title]) => (
            <div key={column}>
              <h3>{title}</h3>
              <BarList label={title} items={toBars(group.rows, column)} />
            </div>
          ))}
        </div>
      )}
      {missing.length === 0 ? null : (
        <p class="muted">
          Not measured: {missing.map((row) => `${textOf(row["peer"])} (${textOf(row["reason"])})`).join(", ")}.
        </p>
      )}
      <details class="chart-table">
        <summary>All figures as a table</summary>
        <RowsTable table={toTable(name, rows)} />
      </details>
      <Conditions values={values.filter(([, value]) => value !== "")} />
      <CommandList of={name} commands={[textOf(environment["command"])].filter((command) => command !== "")} />
    </Card>
  );
}

function hasNumbers(rows: readonly Row[], column: string): boolean {
  return rows.some((row) => typeof row[column] === "number");
}

function toBars(rows: readonly Row[], column: string) {
  return rows.flatMap((row) => {
    const value = row[column];
    if (typeof value !== "number") return [];
    return [{ name: textOf(row["peer"]), value, text: formatValue(column, value) }];
  });
}

function toTable(name: string, rows: readonly Readonly<Record<string, unknown>>[]) {
  const flat = rows.map((row) => {
    const into: Record<string, Scalar> = {};
    flatten("", row, into);
    return into;
  });
  const columns = [...new Set(flat.flatMap((row) => Object.keys(row)))];
  return { name, columns: columns.filter((column) => flat.some((row) => row[column] !== null)), rows: flat };
}
