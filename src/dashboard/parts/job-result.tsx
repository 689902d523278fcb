import { useMemo } from "preact/hooks";
import type { Job } from "../../server/wire/jobs.js";
import { formatValue, readFigures, titleOf, type Row } from "../model/figures.js";
import { formatBytes } from "../model/format.js";
import { fetchFile } from "../state/fetch-file.js";
import { Card } from "./card.js";
import { FigureTableView } from "./figure-table.js";

type Result = NonNullable<Job["result"]>;

/** What a job found, with the files that it left. */
export function JobResult({ id, result }: { id: string; result: Result }) {
  const { values, tables } = useMemo(() => readFigures(result.figures), [result]);
  const entries = Object.entries(values);
  const conditions = entries.filter(([, value]) => typeof value !== "number");
  return (
    <Card title="Result">
      <Values values={Object.fromEntries(entries.filter(([, value]) => typeof value === "number"))} />
      {tables.map((table) => (
        <FigureTableView key={table.name} table={table} />
      ))}
      {conditions.length === 0 ? null : (
        <details>
          <summary>Conditions</summary>
          <Values values={Object.fromEntries(conditions)} />
        </details>
      )}
      <ResultFiles id={id} files={result.files} />
    </Card>
  );
}

function Values({ values }: { values: Row }) {
  if (Object.keys(values).length === 0) return null;
  return (
    <dl class="values">
      {Object.entries(values).map(([name, value]) => (
        <div key={name} class={String(value).length > 40 ? "value-wide" : ""}>
          <dt>{titleOf(name.replace(/^environment\./, ""))}</dt>
          <dd>{formatValue(name, value)}</dd>
        </div>
      ))}
    </dl>
  );
}

function ResultFiles({ id, files }: { id: string; files: Result["files"] }) {
  if (files.length === 0) return null;
  return (
    <details>
      <summary>{files.length === 1 ? "One file" : `${String(files.length)} files`} in the job's folder</summary>
      <div class="scroll" tabIndex={0} role="region" aria-label="Files">
        <table>
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col" class="number">
                Size
              </th>
              <th scope="col">SHA-256</th>
            </tr>
          </thead>
          <tbody>
            {files.map(({ name, sizeBytes, sha256 }) => (
              <tr key={name}>
                <th scope="row">
                  <button type="button" class="plain link" onClick={() => void fetchFile(id, name)}>
                    {name}
                  </button>
                </th>
                <td class="number">{formatBytes(sizeBytes)}</td>
                <td class="code">{sha256}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}
