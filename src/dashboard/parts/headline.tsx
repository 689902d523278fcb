import { useMemo } from "preact/hooks";
import type { UsageSample } from "../../server/wire/system.js";
import { formatBytes, formatNumber, formatPercent } from "../model/format.js";
import { Card, Figure } from "./card.js";
import { Chart } from "./chart.js";
import { Empty, Loading } from "./notice.js";

interface HeadlineProps {
  samples: readonly UsageSample[];
  isLoading: boolean;
}

/** The KV caches of all open sessions beside what they would need at 16 bits: what this is all for. */
export function Headline({ samples, isLoading }: HeadlineProps) {
  const latest = samples.at(-1);
  return (
    <Card title="KV cache memory" aside={<span class="muted">all open sessions, last hour</span>}>
      {isLoading ? <Loading what="the last hour" /> : <Saving latest={latest} samples={samples} />}
    </Card>
  );
}

function Saving({ latest, samples }: { latest: UsageSample | undefined; samples: readonly UsageSample[] }) {
  const hasAny = samples.some(({ denseBytes }) => denseBytes > 0);
  if (!hasAny || latest === undefined) {
    return (
      <Empty title="No session holds a cache yet.">
        <p>
          Write something in the <a href="/playground">playground</a>, or send a prompt to <code>/v1/completions</code>;
          what 2 bits save is then shown here, over time.
        </p>
      </Empty>
    );
  }
  const used = latest.packedBytes + latest.fullPrecisionBytes;
  const saved = latest.denseBytes - used;
  const share = latest.denseBytes > 0 ? saved / latest.denseBytes : 0;
  return (
    <div class="headline">
      <div class="figures">
        <div class="figure figure-main">
          <div class="figure-label">Saved now</div>
          <div class="figure-value">{latest.denseBytes > 0 ? formatPercent(share) : "–"}</div>
          <div class="figure-hint">{savedText(latest.denseBytes, saved)}</div>
        </div>
        <Figure
          label="In use"
          value={formatBytes(used)}
          hint={`${formatBytes(latest.packedBytes)} packed at 2 and 4 bits`}
        />
        <Figure
          label="The same at 16 bits"
          value={formatBytes(latest.denseBytes)}
          hint={`${formatNumber(latest.tokens)} tokens`}
        />
      </div>
      {samples.length < 2 ? (
        <Empty title="The chart begins with the next look, in a few seconds." />
      ) : (
        <MemoryChart samples={samples} />
      )}
    </div>
  );
}

function savedText(denseBytes: number, saved: number): string {
  if (denseBytes === 0) return "No cache is held now";
  // The first and the latest tokens of a text stay in 16 bits.
  return saved > 0 ? `${formatBytes(saved)} less than at 16 bits` : "Short texts are still wholly in 16 bits";
}

function MemoryChart({ samples }: { samples: readonly UsageSample[] }) {
  const x = useMemo(() => samples.map(({ time }) => Date.parse(time) / 1000), [samples]);
  const series = useMemo(
    () => [
      { label: "At 16 bits", values: samples.map(({ denseBytes }) => denseBytes), color: "series-2", isFilled: true },
      {
        label: "In use",
        values: samples.map(({ packedBytes, fullPrecisionBytes }) => packedBytes + fullPrecisionBytes),
        ...{ color: "series-1", isFilled: true },
      },
    ],
    [samples],
  );
  return (
    <Chart
      label="KV cache memory over the last hour"
      x={x}
      isTime
      isBytes
      series={series}
      format={formatBytes}
      height={190}
    />
  );
}
