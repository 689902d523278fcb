import type { Comparison } from "../../../server/wire/reports.js";
import { formatPercent } from "../../model/format.js";
import { BASELINE, bestCompressed, conditionsOf, formatP } from "../../model/report.js";
import { BarList } from "../bar-list.js";
import { Card, Figure } from "../card.js";
import { Notice } from "../notice.js";
import { CommandList } from "./command-list.js";
import { Conditions } from "./conditions.js";
import { ParetoChart } from "./pareto-chart.js";
import { PresetTable } from "./preset-table.js";
import { TaskDetails } from "./task-details.js";
import { TaskMatrix } from "./task-matrix.js";

/** Evaluations that differ in presets, tasks, items or seed alone: what each preset costs and saves. */
export function ComparisonView({ name, comparison }: { name: string; comparison: Comparison }) {
  const { presets, tasks, commands } = comparison;
  const isUneven = new Set(presets.map(({ items }) => items)).size > 1;
  const hasBaseline = presets.some(({ preset }) => preset === BASELINE);
  return (
    <Card title={`Accuracy of ${name}`}>
      <Headline comparison={comparison} />
      {hasBaseline ? null : <Notice>{BASELINE} is not among the presets, so nothing is compared.</Notice>}
      {isUneven && hasBaseline ? (
        <Notice>
          Presets answered different numbers of questions: read the differences, which are on shared questions.
        </Notice>
      ) : null}
      <PresetTable name={name} comparison={comparison} />
      <div class="report-pictures">
        <ParetoChart comparison={comparison} />
        <div class="report-part">
          <h3>A number in the cache takes</h3>
          <BarList
            label="Bits of a number in the cache"
            items={presets.map(({ preset, bits }) => ({ name: preset, value: bits, text: `${bits.toFixed(2)} bits` }))}
          />
          <ul class="report-words muted">
            <li>Right: answers that are exactly so, all tasks together, with the 95% interval after Wilson.</li>
            <li>Against {BASELINE}: on the same questions, with a 95% interval from 4000 resamples of them.</li>
            <li>p: McNemar's exact test of the answers lost and won, after Holm; below 0.05 it is more than chance.</li>
          </ul>
        </div>
      </div>
      {tasks.length === 0 ? null : (
        <div class="report-part">
          <h3>Tasks</h3>
          <TaskMatrix name={name} comparison={comparison} />
          <TaskDetails name={name} comparison={comparison} />
        </div>
      )}
      <Conditions values={conditionsOf(comparison)} />
      <CommandList of={name} commands={commands} />
    </Card>
  );
}

/** What the most accurate preset below 16 bits takes and loses. */
function Headline({ comparison }: { comparison: Comparison }) {
  const best = bestCompressed(comparison);
  const base = comparison.presets.find(({ preset }) => preset === BASELINE);
  if (best?.accuracy === undefined) return null;
  const { againstFp16 } = best;
  return (
    <div class="figures">
      <Figure
        label="Most accurate below 16 bits"
        value={best.preset}
        hint={`of ${String(comparison.presets.length)} presets`}
      />
      <Figure
        label="Bits of a number"
        value={best.bits.toFixed(2)}
        hint={`${(16 / best.bits).toFixed(1)}× smaller than 16 bits`}
      />
      <Figure
        label="Right answers"
        value={formatPercent(best.accuracy)}
        hint={base?.accuracy === undefined ? undefined : `${formatPercent(base.accuracy)} with ${BASELINE}`}
      />
      {againstFp16 === undefined ? null : (
        <Figure
          label="Answers lost, won"
          value={`${String(againstFp16.lost ?? 0)}, ${String(againstFp16.won ?? 0)}`}
          hint={`p ${formatP(againstFp16.holmP)} of ${String(againstFp16.items)} shared questions`}
        />
      )}
    </div>
  );
}
