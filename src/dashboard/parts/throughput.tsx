import { useMemo } from "preact/hooks";
import type { JobState } from "../../server/wire/jobs.js";
import type { UsageSample } from "../../server/wire/system.js";
import { formatNumber } from "../model/format.js";
import { Card, Figure } from "./card.js";
import { Chart } from "./chart.js";

interface ThroughputProps {
  samples: readonly UsageSample[];
  counts: Readonly<Record<JobState, number>>;
}

/** What is written a second, by whom, and what waits. */
export function Throughput({ samples, counts }: ThroughputProps) {
  const latest = samples.at(-1);
  const hasGpus = latest === undefined || latest.gpus.length > 0;
  const x = useMemo(() => samples.map(({ time }) => Date.parse(time) / 1000), [samples]);
  const series = useMemo(
    () => [{ label: "Tokens/s", values: samples.map(({ tokensPerSecond }) => tokensPerSecond), color: "series-1" }],
    [samples],
  );
  return (
    <Card title="Throughput" aside={hasGpus ? null : <NoGpu />}>
      <div class="figures">
        <Figure
          label="Writing"
          value={latest === undefined ? "–" : formatNumber(latest.tokensPerSecond)}
          unit="tokens/s"
        />
        <Figure
          label="Generations"
          value={latest?.running ?? "–"}
          hint={`in ${String(latest?.sessions ?? 0)} sessions`}
        />
        <Figure
          label="Jobs running"
          value={formatNumber(counts.running + counts.starting)}
          hint={<a href="/jobs?state=queued">{formatNumber(counts.queued)} in the queue</a>}
        />
      </div>
      {x.length < 2 ? null : (
        <Chart
          label="Tokens written a second over the last hour"
          x={x}
          isTime
          series={series}
          format={formatNumber}
          height={140}
        />
      )}
    </Card>
  );
}

function NoGpu() {
  return (
    <span class="muted">
      No GPU here, models compute on the processors · <a href="/system">What was found</a>
    </span>
  );
}
