import type { Comparison, PresetRow } from "../../../server/wire/reports.js";
import { formatPercent } from "../../model/format.js";
import { BASELINE, formatInterval, formatP, formatSigned, verdict } from "../../model/report.js";
import { IntervalBar } from "./interval-bar.js";

/** Presets over all tasks: what each takes, what it got right, and how it differs from 16 bits. */
export function PresetTable({ name, comparison: { presets } }: { name: string; comparison: Comparison }) {
  const hasBook = presets.some(({ bookNats }) => bookNats !== undefined);
  return (
    <div class="scroll report-scroll" tabIndex={0} role="region" aria-label={`Presets over all tasks, ${name}`}>
      <table class="report-table">
        <thead>
          <tr>
            <th scope="col">Preset</th>
            <th scope="col" class="number" title="Of a number in the cache, in the longest questions">
              Bits
            </th>
            <th scope="col" class="number">
              Right
            </th>
            <th scope="col" class="interval-head">
              <span class="interval-scale">
                <span>0%</span>
                <span>right, with 95% interval</span>
                <span>100%</span>
              </span>
            </th>
            <th scope="col" class="number" title="On the same questions, with the 95% interval of 4000 resamples">
              Against {BASELINE}, points
            </th>
            <th scope="col" class="number" title={`Answers that only ${BASELINE} or only this preset got right`}>
              Lost, won
            </th>
            <th scope="col" class="number" title="McNemar's exact test, after Holm for all presets">
              p
            </th>
            {hasBook ? (
              <th scope="col" class="number" title={`Bits a byte of a book, more than ${BASELINE} takes`}>
                Book
              </th>
            ) : null}
          </tr>
        </thead>
        <tbody>
          {presets.map((row) => (
            <Preset key={row.preset} row={row} hasBook={hasBook} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Preset({ row, hasBook }: { row: PresetRow; hasBook: boolean }) {
  const { preset, bits, accuracy, accuracyInterval, correct, answers, againstFp16, bookNats } = row;
  const found = againstFp16 === undefined ? "open" : verdict(againstFp16);
  const { accuracy: change } = againstFp16 ?? {};
  return (
    <tr>
      <th scope="row" class="preset-name" title={preset}>
        {preset}
      </th>
      <td class="number">{bits.toFixed(2)}</td>
      <td class="number">{accuracy === undefined ? "–" : `${String(correct)} of ${String(answers)}`}</td>
      <td class="interval-cell">
        {accuracy === undefined || accuracyInterval === undefined ? null : (
          <>
            <IntervalBar share={accuracy} interval={accuracyInterval} isWorse={found === "worse"} />
            <span class="interval-text" title={formatInterval(accuracyInterval)}>
              {formatPercent(accuracy)}
            </span>
          </>
        )}
      </td>
      <td class="number">
        {change === undefined ? (
          "–"
        ) : (
          <>
            {formatSigned(100 * change.difference)}{" "}
            <span class="muted">
              ({formatSigned(100 * change.low)} to {formatSigned(100 * change.high)})
            </span>
          </>
        )}
      </td>
      <td class="number">
        {againstFp16 === undefined ? "–" : `${String(againstFp16.lost ?? 0)}, ${String(againstFp16.won ?? 0)}`}
      </td>
      <td class={`number verdict-${found}`}>{formatP(againstFp16?.holmP)}</td>
      {hasBook ? (
        <td
          class="number"
          title={bookNats && `${formatSigned(100 * bookNats.low, 2)}% to ${formatSigned(100 * bookNats.high, 2)}%`}
        >
          {bookNats === undefined ? "–" : `${formatSigned(100 * bookNats.more, 2)}%`}
        </td>
      ) : null}
    </tr>
  );
}
