import type { PresetRow } from "../../server/wire/reports.js";

export interface Frame {
  width: number;
  height: number;
  left: number;
  right: number;
  top: number;
  bottom: number;
}

export interface PlacedPoint {
  name: string;
  x: number;
  y: number;
  /** The ends of its interval. */
  top: number;
  bottom: number;
  isUnbeaten: boolean;
  /** Of many points only those have one that nothing beats. */
  label: { x: number; y: number; isBefore: boolean } | undefined;
}

export interface Mark {
  place: number;
  text: string;
}

export interface ParetoPicture {
  points: PlacedPoint[];
  /** Corners of the line that joins what nothing beats, as SVG wants them. */
  line: string;
  xMarks: Mark[];
  yMarks: Mark[];
}

const LABEL_ROOM = 16;
const MOST_LABELS = 12;
const BITS = [1, 2, 3, 4, 6, 8, 12, 16];
const STEPS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.25];

/** Bits against accuracy, placed in a frame: bits by their logarithm, accuracy from the lowest interval to the highest. */
export function placePareto(presets: readonly PresetRow[], unbeaten: readonly string[], frame: Frame): ParetoPicture {
  const rows = presets.flatMap(({ preset, bits, accuracy, accuracyInterval }) =>
    accuracy === undefined || accuracyInterval === undefined
      ? []
      : [{ preset, bits, accuracy, low: accuracyInterval[0], high: accuracyInterval[1] }],
  );
  const least = Math.min(2, ...rows.map(({ bits }) => bits));
  const most = Math.max(16, ...rows.map(({ bits }) => bits));
  const { low, high, step } = roundRange(
    Math.min(...rows.map((row) => row.low)),
    Math.max(...rows.map((row) => row.high)),
  );
  const x = (bits: number): number =>
    frame.left + (Math.log2(bits / least) / Math.log2(most / least)) * (frame.width - frame.left - frame.right);
  const y = (share: number): number =>
    frame.top + ((high - share) / (high - low)) * (frame.height - frame.top - frame.bottom);
  const placed = rows.map((row) => ({
    name: row.preset,
    x: x(row.bits),
    y: y(row.accuracy),
    top: y(row.high),
    bottom: y(row.low),
    isUnbeaten: unbeaten.includes(row.preset),
  }));
  const line = placed.filter(({ isUnbeaten }) => isUnbeaten).sort((a, b) => a.x - b.x);
  const marks = Array.from({ length: Math.round((high - low) / step) + 1 }, (_, at) => low + at * step);
  return {
    points: withLabels(placed, frame),
    line: line.map((point) => `${point.x.toFixed(1)},${point.y.toFixed(1)}`).join(" "),
    xMarks: BITS.filter((bits) => bits >= least && bits <= most).map((bits) => ({
      place: x(bits),
      text: String(bits),
    })),
    yMarks: marks.map((share) => ({ place: y(share), text: `${String(Math.round(100 * share))}%` })),
  };
}

/** Ends on round numbers, with four to seven marks between them. */
function roundRange(low: number, high: number): { low: number; high: number; step: number } {
  const step = STEPS.find((each) => (high - low) / each <= 6) ?? 0.25;
  const bottom = Math.max(0, Math.floor(low / step + 1e-9) * step);
  const top = Math.min(1, Math.ceil(high / step - 1e-9) * step);
  return top - bottom < step
    ? { low: Math.max(0, top - step), high: Math.max(step, top), step }
    : { low: bottom, high: top, step };
}

/** Names beside their points, from the highest down, so that none covers another's. */
function withLabels(points: readonly Omit<PlacedPoint, "label">[], frame: Frame): PlacedPoint[] {
  const ends = { before: -Infinity, after: -Infinity };
  return [...points]
    .sort((a, b) => a.y - b.y)
    .map((point) => {
      if (points.length > MOST_LABELS && !point.isUnbeaten) return { ...point, label: undefined };
      const isBefore = point.x > frame.width * 0.72;
      const side = isBefore ? "before" : "after";
      const at = Math.max(point.y + 4, ends[side] + LABEL_ROOM);
      ends[side] = at;
      return { ...point, label: { x: point.x + (isBefore ? -12 : 14), y: at, isBefore } };
    });
}
