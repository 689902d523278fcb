import type { JobSummary } from "../../server/wire/jobs.js";
import { secondsLeft } from "../model/eta.js";
import { formatDuration, formatNumber, formatPercent } from "../model/format.js";
import { now } from "../state/clock.js";

/** How far a job is, and how long it will still take. */
export function Progress({ job }: { job: JobSummary }) {
  const { progress } = job;
  if (progress === null || progress.total <= 0) return null;
  const share = Math.min(1, progress.done / progress.total);
  const left = secondsLeft(job, now.value);
  const text = `${formatNumber(progress.done)} of ${formatNumber(progress.total)}`;
  return (
    <div class="progress">
      <progress max={1} value={share} aria-label={`Progress: ${text}`} />
      <span class="progress-text" title={text}>
        {formatPercent(share)}
        {left === undefined || share >= 1 ? "" : ` · ${formatDuration(Math.ceil(left))} left`}
      </span>
    </div>
  );
}
