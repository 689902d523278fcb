import { useMemo } from "preact/hooks";
import type { Gpu, UsageSample } from "../../server/wire/system.js";
import { formatBytes, formatPercent } from "../model/format.js";
import { Card } from "./card.js";
import { Chart } from "./chart.js";

const COLORS = ["series-1", "series-2", "series-3", "series-4", "series-5", "series-6"];

/** How busy the GPUs are and how full their memory is, now and over time. */
export function Gpus({ samples }: { samples: readonly UsageSample[] }) {
  const gpus = samples.at(-1)?.gpus ?? [];
  const x = useMemo(() => samples.map(({ time }) => Date.parse(time) / 1000), [samples]);
  const series = useMemo(
    () =>
      gpus.map((_, index) => ({
        label: `GPU ${String(index)}`,
        values: samples.map((sample) => sample.gpus[index]?.utilization ?? null),
        color: COLORS[index % COLORS.length] ?? "series-1",
      })),
    [samples, gpus.length],
  );
  if (gpus.length === 0) return null;
  return (
    <Card title="GPUs">
      <ul class="gpus">
        {gpus.map((gpu, index) => (
          <GpuRow key={index} gpu={gpu} index={index} />
        ))}
      </ul>
      <Chart label="GPU use over the last hour" x={x} isTime series={series} format={percent} height={140} />
    </Card>
  );
}

function GpuRow({ gpu, index }: { gpu: Gpu; index: number }) {
  const share = gpu.totalBytes > 0 ? gpu.usedBytes / gpu.totalBytes : 0;
  return (
    <li>
      <div class="gpu-name">
        GPU {index} <span class="muted">{gpu.name}</span>
      </div>
      <progress max={1} value={share} aria-label={`Memory of GPU ${String(index)}`} />
      <div class="muted">
        {formatBytes(gpu.usedBytes)} of {formatBytes(gpu.totalBytes)}, {formatPercent(share)} ·{" "}
        {gpu.utilization === null ? "use unknown" : `${String(gpu.utilization)}% busy`}
      </div>
    </li>
  );
}

function percent(value: number): string {
  return `${String(Math.round(value))}%`;
}
