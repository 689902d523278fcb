import { useState } from "preact/hooks";
import { chartColumns, formatValue, rowLabels, titleOf, type FigureTable, type Row } from "../model/figures.js";
import { BarList } from "./bar-list.js";

const PREFERRED = ["tokensPerSecond", "simulated.perplexity", "accuracy", "stepMs", "klDivergence", "completionTokens"];

/** Rows that were measured: one of their figures as a chart, all of them as a table. */
export function FigureTableView({ table, of }: { table: FigureTable; of?: string | undefined }) {
  const columns = chartColumns(table);
  const [chosen, setChosen] = useState(PREFERRED.find((name) => columns.includes(name)) ?? columns[0]);
  const labels = rowLabels(table);
  return (
    <div class="figure-table">
      <div class="card-head">
        <h3>{titleOf(table.name)}</h3>
        {chosen === undefined ? null : (
          <label class="inline-field">
            <span class="muted">Chart</span>
            <select
              value={chosen}
              onChange={({ currentTarget }) => {
                setChosen(currentTarget.value);
              }}
            >
              {columns.map((column) => (
                <option key={column} value={column}>
                  {titleOf(column)}
                </option>
              ))}
            </select>
          </label>
        )}
      </div>
      {chosen === undefined ? null : (
        <BarList
          label={titleOf(chosen)}
          items={table.rows
            .map((row, index) => toBar(labels[index] ?? "", chosen, row))
            .filter(({ value }) => value !== null)}
        />
      )}
      <details class="chart-table" open={chosen === undefined}>
        <summary>All figures as a table</summary>
        <RowsTable table={table} of={of} />
      </details>
    </div>
  );
}

function toBar(name: string, column: string, row: Row) {
  const value = row[column];
  return { name, value: typeof value === "number" ? value : null, text: formatValue(column, value) };
}

/** All columns of rows that were measured. */
export function RowsTable({ table: { name, columns, rows }, of }: { table: FigureTable; of?: string | undefined }) {
  const label = [titleOf(name), ...(of === undefined ? [] : [of]), "as a table"].join(", ");
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={label}>
      <table>
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column} scope="col">
                {titleOf(column)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row, index) => (
            <tr key={index}>
              {columns.map((column) => (
                <td key={column} class={typeof row[column] === "number" ? "number" : ""}>
                  {column === "id" ? (
                    <a href={`/jobs/${String(row[column])}`}>{row[column]}</a>
                  ) : (
                    formatValue(column, row[column])
                  )}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
