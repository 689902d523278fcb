import type { JobState } from "../../server/wire/jobs.js";

const TEXTS: Partial<Record<JobState, string>> = { timed_out: "timed out" };

export function stateText(state: JobState): string {
  return TEXTS[state] ?? state;
}

/** A job's state in colour and in words. */
export function StateBadge({ state, isCancelRequested = false }: { state: JobState; isCancelRequested?: boolean }) {
  const isEnding = isCancelRequested && (state === "running" || state === "starting");
  return (
    <span class={`state state-${state}`}>
      <span class="dot" />
      {isEnding ? "cancelling" : stateText(state)}
    </span>
  );
}
