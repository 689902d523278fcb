import type { ReportDocument } from "../../../server/wire/reports.js";
import { Card } from "../card.js";

/** The paper's own figures, which nothing here is compared with. */
export function PublishedView({ published: { source, columns, rows } }: { published: ReportDocument["published"] }) {
  return (
    <Card title="Published figures" aside={<span class="tag">references, not measured here</span>}>
      <p class="muted">{source}</p>
      <div class="scroll report-scroll" tabIndex={0} role="region" aria-label="Published figures, as a table">
        <table class="report-table">
          <thead>
            <tr>
              {columns.map((column, index) => (
                <th key={column} scope="col" class={index < 2 ? "" : "number"}>
                  {column.charAt(0).toUpperCase() + column.slice(1)}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map((row, at) => (
              <tr key={at}>
                {row.map((cell, index) => (
                  <td key={index} class={typeof cell === "number" ? "number" : ""}>
                    {typeof cell === "number" ? cell.toFixed(2) : (cell ?? "")}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Card>
  );
}
