import { formatBytes, formatPercent } from "../model/format.js";
import type { PlaygroundPane } from "../state/playground-pane.js";

/** What one side's cache saves against the other's, in one sentence. */
export function PlaygroundSaving({ left, right }: { left: PlaygroundPane; right: PlaygroundPane }) {
  const [a, b] = [left.memory.value, right.memory.value];
  if (a === undefined || b === undefined || a.tokens === 0 || b.tokens === 0) return null;
  const perToken = (memory: typeof a): number => (memory.packedBytes + memory.fullPrecisionBytes) / memory.tokens;
  const [small, large, smaller, larger] = perToken(a) <= perToken(b) ? [a, b, left, right] : [b, a, right, left];
  const share = 1 - perToken(small) / perToken(large);
  if (share < 0.005) return null;
  return (
    <p class="saving">
      <strong>{smaller.preset.value}</strong> keeps a token in {formatBytes(perToken(small))},{" "}
      <strong>{larger.preset.value}</strong> in {formatBytes(perToken(large))}:{" "}
      <strong class="saving-share">{formatPercent(share)} less</strong> memory.
    </p>
  );
}
