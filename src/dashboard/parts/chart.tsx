import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { isDark } from "../state/theme.js";

export interface Series {
  label: string;
  /** One value per x; null leaves a gap. */
  values: readonly (number | null)[];
  /** The name of a colour of the theme: `series-1`. */
  color: string;
  isFilled?: boolean;
}

export interface ChartProps {
  isBytes?: boolean;
  /** What it shows, for those who do not see it. */
  label: string;
  /** Seconds since 1970 where `isTime`. */
  x: readonly number[];
  isTime?: boolean;
  series: readonly Series[];
  format: (value: number) => string;
  xLabel?: string;
  height?: number;
}

/** A chart, and the same numbers in a table below it. */
export function Chart(props: ChartProps) {
  const holder = useRef<HTMLDivElement>(null);
  const output = useRef<HTMLSpanElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const latest = useRef(props);
  latest.current = props;
  const names = props.series.map(({ label }) => label).join();
  const dark = isDark.value;
  useEffect(() => {
    const element = holder.current;
    if (element === null) return undefined;
    const made = new uPlot(
      options(props, element, ({ cursor }) => {
        // Not through the component: a pointer moves more often than a page should be drawn.
        if (output.current !== null) output.current.textContent = readOut(latest.current, cursor.idx);
      }),
      toData(props),
      element,
    );
    plot.current = made;
    const observer = new ResizeObserver(() => {
      made.setSize({ width: element.clientWidth, height: props.height ?? 200 });
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = undefined;
    };
    // New numbers go into the chart that is there.
  }, [names, dark, props.isTime, props.height]);
  useEffect(() => {
    plot.current?.setData(toData(props));
  }, [props.x, props.series]);
  return (
    <figure class="chart">
      <div class="legend" aria-hidden="true">
        {props.series.map(({ label, color }) => (
          <span key={label}>
            <span class={`swatch swatch-${color}`} />
            {label}
          </span>
        ))}
        <span ref={output} class="read-out" />
      </div>
      <div ref={holder} class="chart-plot" role="img" aria-label={props.label} />
      <ChartTable {...props} />
    </figure>
  );
}

/** What a screen reader, a copy or a closer look wants; the newest first where it is over time. */
function ChartTable({ label, x, isTime = false, xLabel = isTime ? "Time" : "", series, format }: ChartProps) {
  const order = x.map((_, index) => index);
  const shown = (isTime ? order.reverse() : order).slice(0, 200);
  return (
    <details class="chart-table">
      <summary>Show as a table</summary>
      <div class="scroll" tabIndex={0} role="region" aria-label={`${label}, as a table`}>
        <table>
          <thead>
            <tr>
              <th scope="col">{xLabel}</th>
              {series.map((one) => (
                <th key={one.label} scope="col" class="number">
                  {one.label}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {shown.map((index) => (
              <tr key={index}>
                <th scope="row">{xText(x[index] ?? 0, isTime)}</th>
                {series.map((one) => (
                  <td key={one.label} class="number">
                    {valueText(one.values[index], format)}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}

function xText(x: number, isTime: boolean): string {
  return isTime ? new Date(x * 1000).toLocaleTimeString("en-GB") : String(x);
}

function valueText(value: number | null | undefined, format: (value: number) => string): string {
  return typeof value === "number" ? format(value) : "–";
}

function toData({ x, series }: ChartProps): uPlot.AlignedData {
  return [[...x], ...series.map(({ values }) => [...values])];
}

/** What is under the pointer, in words. */
function readOut({ x, isTime = false, series, format }: ChartProps, index: number | null | undefined): string {
  const at = typeof index === "number" ? x[index] : undefined;
  if (at === undefined || typeof index !== "number") return "";
  const values = series.map(({ label, values }) => `${label} ${valueText(values[index], format)}`);
  return [xText(at, isTime), ...values].join(" · ");
}

function options(props: ChartProps, element: HTMLElement, onCursor: (plot: uPlot) => void): uPlot.Options {
  const { x, isTime = false, isBytes = false, series, format, height = 200 } = props;
  const style = getComputedStyle(element);
  const color = (name: string): string => style.getPropertyValue(`--${name}`).trim();
  const axis = { stroke: color("muted"), grid: { stroke: color("grid"), width: 1 }, ticks: { show: false } };
  const font = `11px ${style.fontFamily}`;
  const values = (_: uPlot, splits: number[]): string[] => splits.map(format);
  return {
    width: element.clientWidth,
    height,
    padding: [8, 12, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
    hooks: { setCursor: [onCursor] },
    scales: { x: { time: isTime }, y: { range: fromZero } },
    axes: [
      { ...axis, font, grid: { show: false }, size: 28, ...(isTime ? TIME_AXIS : {}) },
      { ...axis, font, size: 64, values, ...(isBytes ? { incrs: BINARY_STEPS } : {}) },
    ],
    series: [
      {},
      ...series.map(({ label, color: name, isFilled = false }) => ({
        ...{ label, stroke: color(name), width: 2, spanGaps: false },
        ...(isFilled ? { fill: `color-mix(in srgb, ${color(name)} 18%, transparent)` } : {}),
        points: { show: x.length < 40, size: 5, fill: color(name) },
      })),
    ],
  };
}

function fromZero(_: uPlot, __: number | null, max: number | null): uPlot.Range.MinMax {
  return [0, max === null || max <= 0 ? 1 : max * 1.08];
}

// 1 KiB, 2 KiB, 4 KiB …, so that an axis of bytes has round numbers.
const BINARY_STEPS = Array.from({ length: 50 }, (_, power) => 2 ** power);
const TIME_AXIS: Partial<uPlot.Axis> = { space: 90, values: (_, splits) => splits.map(clockTime) };

/** 14:05, or 14:05:30 where that is not a whole minute. */
function clockTime(seconds: number): string {
  const style = seconds % 60 === 0 ? undefined : ({ second: "2-digit" } as const);
  return new Date(seconds * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", ...style });
}
