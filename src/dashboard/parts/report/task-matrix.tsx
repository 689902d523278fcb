import type { Comparison, TaskRow } from "../../../server/wire/reports.js";
import { formatInterval, formatP, formatSigned, taskMatrix, verdict } from "../../model/report.js";
import { IntervalBar } from "./interval-bar.js";

const SEQUENTIAL = "A sequential test looks after every question, and is wrong in at most 5% of runs";

/** Tasks by presets, as pictures with numbers; clear losses stand out. */
export function TaskMatrix({ name, comparison }: { name: string; comparison: Comparison }) {
  return (
    <div class="scroll report-scroll" tabIndex={0} role="region" aria-label={`Tasks by preset, ${name}`}>
      <table class="report-table task-matrix">
        <thead>
          <tr>
            <th scope="col">Task</th>
            {comparison.presets.map(({ preset }) => (
              <th key={preset} scope="col">
                {preset}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {taskMatrix(comparison).map(({ task, cells }) => (
            <tr key={task}>
              <th scope="row">{task.replaceAll("_", " ")}</th>
              {cells.map((row, index) => (
                <td key={comparison.presets[index]?.preset}>{row === undefined ? "–" : <Cell row={row} />}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Cell({ row }: { row: TaskRow }) {
  const { accuracy, accuracyInterval, correct, items, natsPerToken, againstFp16, decided } = row;
  const found = againstFp16 === undefined ? "open" : verdict(againstFp16);
  if (accuracy === undefined || accuracyInterval === undefined) {
    const more = againstFp16?.natsPerToken;
    const isClear = more !== undefined && (more.low > 0 || more.high < 0);
    return (
      <span class="task-cell">
        <span>{natsPerToken === undefined ? "–" : `${natsPerToken.toFixed(3)} nats a token`}</span>
        {more === undefined ? null : (
          <span
            class={isClear && more.difference > 0 ? "verdict-worse" : "muted"}
            title={`95%: ${formatSigned(more.low, 4)} to ${formatSigned(more.high, 4)}`}
          >
            {formatSigned(more.difference, 3)}
          </span>
        )}
      </span>
    );
  }
  const p = againstFp16?.holmP;
  const isWorse = found === "worse" || decided?.decision === "worse";
  return (
    <span class="task-cell" title={`95%: ${formatInterval(accuracyInterval)}`}>
      <span>
        {correct} of {items}
        {p === undefined || p > 0.995 ? null : <span class={`verdict-${found}`}> p {formatP(p)}</span>}
      </span>
      <IntervalBar share={accuracy} interval={accuracyInterval} isWorse={isWorse} />
      {decided === undefined ? null : (
        <span class={decided.decision === "worse" ? "verdict-worse" : "verdict-better"} title={SEQUENTIAL}>
          clearly {decided.decision === "worse" ? "worse" : "as good"} after {decided.afterItems}
        </span>
      )}
    </span>
  );
}
