interface IntervalBarProps {
  /** 0 to 1. */
  share: number;
  interval: readonly [number, number];
  /** Whether it is clearly less than what it is held to. */
  isWorse?: boolean;
}

/** A share on a line from none to all, with its interval; the numbers stand beside it. */
export function IntervalBar({ share, interval: [low, high], isWorse = false }: IntervalBarProps) {
  return (
    <span class={isWorse ? "interval interval-worse" : "interval"} aria-hidden="true">
      <span class="interval-range" style={{ left: percent(low), width: percent(high - low) }} />
      <span class="interval-point" style={{ left: percent(share) }} />
    </span>
  );
}

function percent(share: number): string {
  return `${(100 * share).toFixed(2)}%`;
}
