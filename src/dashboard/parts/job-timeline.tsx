import { formatDuration } from "../model/format.js";
import { hasEnded } from "../model/job-table.js";
import { shares, type Stretch } from "../model/timeline.js";
import { now } from "../state/clock.js";
import { Ago } from "./ago.js";
import { Card } from "./card.js";
import { StateBadge, stateText } from "./state-badge.js";

/** A job's life: how long it was in which state, with every attempt. */
export function JobTimeline({ stretches }: { stretches: readonly Stretch[] }) {
  const parts = shares(stretches, now.value);
  return (
    <Card title="Timeline" aside={<span class="muted">{attemptsText(stretches)}</span>}>
      <div class="timeline-bar" aria-hidden="true">
        {stretches.map(({ state, from }, index) => (
          <span
            key={`${String(from)}${state}`}
            class={`timeline-part timeline-${state}`}
            title={stateText(state)}
            style={{ flexGrow: parts[index] ?? 0 }}
          />
        ))}
      </div>
      <ol class="timeline">
        {stretches.map((stretch, index) => (
          <TimelineRow key={index} stretch={stretch} />
        ))}
      </ol>
    </Card>
  );
}

function TimelineRow({ stretch: { state, attempt, from, to, error } }: { stretch: Stretch }) {
  return (
    <li>
      <StateBadge state={state} />
      <span class="muted">{attempt > 0 ? `attempt ${String(attempt)}` : ""}</span>
      <span class="timeline-length">{lengthText(state, from, to, now.value)}</span>
      <Ago time={new Date(from).toISOString()} />
      {error === undefined ? null : <span class="timeline-error">{error}</span>}
    </li>
  );
}

function lengthText(state: Stretch["state"], from: number, to: number | null, current: number): string {
  if (to !== null) return formatDuration((to - from) / 1000);
  return hasEnded(state) ? "" : `${formatDuration(Math.max(0, Math.floor((current - from) / 1000)))} so far`;
}

function attemptsText(stretches: readonly Stretch[]): string {
  const attempts = stretches.filter(({ state }) => state === "starting").length;
  return attempts === 1 ? "one attempt" : `${String(attempts)} attempts`;
}
