import { useState } from "preact/hooks";
import type { JobSummary } from "../../server/wire/jobs.js";
import { MOST_REPORTED_JOBS } from "../../server/wire/reports.js";
import { formatNumber } from "../model/format.js";
import { canReport, reportAddress } from "../model/reportable.js";
import { navigate } from "../router.js";
import { actOnJobs, canCancel, canRetry, type JobAction } from "../state/job-actions.js";
import { isComplete, MOST_JOBS, table } from "../state/live.js";

interface SelectionBarProps {
  shown: readonly JobSummary[];
  selected: ReadonlySet<string>;
  onChange: (selected: ReadonlySet<string>) => void;
}

/** How many jobs there are, and what can be done with those that are chosen. */
export function SelectionBar({ shown, selected, onChange }: SelectionBarProps) {
  const [isBusy, setBusy] = useState(false);
  const jobs = [...selected].map((id) => table.get(id)).filter((job) => job !== undefined);
  const act = async (action: JobAction, ids: string[]): Promise<void> => {
    setBusy(true);
    await actOnJobs(action, ids);
    setBusy(false);
    onChange(new Set());
  };
  const cancellable = jobs.filter(canCancel).map(({ id }) => id);
  const retriable = jobs.filter(canRetry).map(({ id }) => id);
  if (jobs.length === 0) return <p class="selection-bar muted">{countText(shown.length)}</p>;
  return (
    <div class="selection-bar">
      <span>{formatNumber(jobs.length)} chosen</span>
      <button
        type="button"
        disabled={isBusy || cancellable.length === 0}
        onClick={() => void act("cancel", cancellable)}
      >
        Cancel {formatNumber(cancellable.length)}
      </button>
      <button type="button" disabled={isBusy || retriable.length === 0} onClick={() => void act("retry", retriable)}>
        Retry {formatNumber(retriable.length)}
      </button>
      <button
        type="button"
        disabled={jobs.length < 2 || jobs.length > 4}
        title="Two to four jobs side by side"
        onClick={() => {
          navigate(`/compare?ids=${jobs.map(({ id }) => id).join(",")}`);
        }}
      >
        Compare
      </button>
      <button
        type="button"
        disabled={jobs.length > MOST_REPORTED_JOBS || !jobs.every(canReport)}
        title="One report about jobs that evaluate, simulate or measure latency, and about sweeps of them"
        onClick={() => {
          navigate(reportAddress(jobs.map(({ id }) => id)));
        }}
      >
        Report
      </button>
      <button
        type="button"
        class="plain"
        onClick={() => {
          onChange(new Set());
        }}
      >
        Clear
      </button>
    </div>
  );
}

function countText(shown: number): string {
  const all = table.size;
  const text = shown === all ? `${formatNumber(all)} jobs` : `${formatNumber(shown)} of ${formatNumber(all)} jobs`;
  if (!isComplete.value) return `${text}, more are coming …`;
  return all >= MOST_JOBS ? `${text}, the newest; older ones are in "kitty-kv job list"` : text;
}
