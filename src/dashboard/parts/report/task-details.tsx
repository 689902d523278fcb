import type { Comparison, TaskRow } from "../../../server/wire/reports.js";
import { formatPercent } from "../../model/format.js";
import { formatInterval, formatP, formatSigned } from "../../model/report.js";

const HEADS: readonly [text: string, title: string, isNumber: boolean][] = [
  ["Task", "", false],
  ["Tokens", "Of a question with its answer", false],
  ["Preset", "", false],
  ["Right", "", true],
  ["Share", "", true],
  ["95%", "After Wilson", true],
  ["Mean score", "The share of an answer's lines before its first error", true],
  ["Lost, won", "Answers that only fp16 or only this preset got right", true],
  ["p", "McNemar's exact test; over all lengths after Holm for all tasks and presets", true],
  ["Nats a token", "", true],
  ["Nats − fp16", "With the 95% interval of 4000 resamples", true],
];

/** Every figure of every task, all lengths together and each alone. */
export function TaskDetails({ name, comparison: { tasks } }: { name: string; comparison: Comparison }) {
  return (
    <details class="chart-table">
      <summary>All figures by task and length</summary>
      <div class="scroll" tabIndex={0} role="region" aria-label={`All figures by task and length, ${name}`}>
        <table class="report-table">
          <thead>
            <tr>
              {HEADS.map(([text, title, isNumber]) => (
                <th key={text} scope="col" class={isNumber ? "number" : ""} title={title}>
                  {text}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {tasks.map((row) => (
              <Task key={`${row.task} ${String(row.length)} ${row.preset}`} row={row} />
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}

function Task({ row }: { row: TaskRow }) {
  const { task, length, preset, accuracy, accuracyInterval, correct, items, meanScore, natsPerToken } = row;
  const { lost, won, mcnemarP, holmP, natsPerToken: nats } = row.againstFp16 ?? {};
  const figures = [
    correct === undefined ? `${String(items)} items` : `${String(correct)} of ${String(items)}`,
    accuracy === undefined ? "" : formatPercent(accuracy),
    accuracyInterval === undefined ? "" : formatInterval(accuracyInterval),
    meanScore?.toFixed(2) ?? "",
    lost === undefined ? "" : `${String(lost)}, ${String(won ?? 0)}`,
    lost === undefined ? "" : formatP(holmP ?? mcnemarP),
    natsPerToken?.toFixed(4) ?? "",
    nats === undefined
      ? ""
      : `${formatSigned(nats.difference, 4)} (${formatSigned(nats.low, 4)} to ${formatSigned(nats.high, 4)})`,
  ];
  return (
    <tr>
      <th scope="row">{task.replaceAll("_", " ")}</th>
      <td>{length ?? "all"}</td>
      <td>{preset}</td>
      {figures.map((figure, index) => (
        <td key={index} class="number">
          {figure}
        </td>
      ))}
    </tr>
  );
}
