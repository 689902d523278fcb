import type { Comparison } from "../../../server/wire/reports.js";
import { placePareto } from "../../model/pareto.js";
import { isNarrow } from "../../state/width.js";

/** A preset with changed fields has a long name. */
const LONGEST_NAME = 26;

/** Bits against accuracy; what no other preset beats in both is joined. The same numbers are in the table of presets. */
export function ParetoChart({ comparison: { presets, unbeaten } }: { comparison: Comparison }) {
  if (presets.filter(({ accuracy }) => accuracy !== undefined).length < 2) return null;
  const frame = isNarrow.value
    ? { width: 340, height: 260, left: 40, right: 14, top: 12, bottom: 42 }
    : { width: 640, height: 300, left: 48, right: 18, top: 12, bottom: 42 };
  const { points, line, xMarks, yMarks } = placePareto(presets, unbeaten, frame);
  const floor = frame.height - frame.bottom;
  return (
    <figure class="pareto">
      <svg viewBox={`0 0 ${String(frame.width)} ${String(frame.height)}`} role="img" aria-label="Accuracy against bits">
        {yMarks.map(({ place, text }) => (
          <g key={text}>
            <line class="pareto-grid" x1={frame.left} x2={frame.width - frame.right} y1={place} y2={place} />
            <text x={frame.left - 8} y={place + 4} text-anchor="end">
              {text}
            </text>
          </g>
        ))}
        {xMarks.map(({ place, text }) => (
          <g key={text}>
            <line class="pareto-tick" x1={place} x2={place} y1={floor} y2={floor + 4} />
            <text x={place} y={floor + 18} text-anchor="middle">
              {text}
            </text>
          </g>
        ))}
        <text x={(frame.left + frame.width - frame.right) / 2} y={frame.height - 6} text-anchor="middle">
          bits of a number in the cache
        </text>
        <polyline class="pareto-line" points={line} />
        {points.map(({ name, x, y, top, bottom, isUnbeaten, label }) => (
          <g key={name} class={isUnbeaten ? "pareto-point" : "pareto-point pareto-beaten"}>
            <line class="pareto-range" x1={x} x2={x} y1={top} y2={bottom} />
            <circle cx={x} cy={y} r={5} />
            {label === undefined ? null : (
              <text class="pareto-name" x={label.x} y={label.y} text-anchor={label.isBefore ? "end" : "start"}>
                {name.length > LONGEST_NAME ? `${name.slice(0, LONGEST_NAME)}…` : name}
              </text>
            )}
            <title>{name}</title>
          </g>
        ))}
      </svg>
      <figcaption class="muted">No other preset is more accurate with as few bits: {unbeaten.join(", ")}.</figcaption>
    </figure>
  );
}
