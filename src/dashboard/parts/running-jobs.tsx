import type { JobState, JobSummary } from "../../server/wire/jobs.js";
import { formatNumber } from "../model/format.js";
import { STATES } from "../model/job-query.js";
import { isComplete, table } from "../state/live.js";
import { Card } from "./card.js";
import { JobLines } from "./job-lines.js";
import { StateBadge } from "./state-badge.js";
import { Empty } from "./notice.js";

const MOST = 8;

/** What runs and what ended last. */
export function RunningJobs({ counts }: { counts: Readonly<Record<JobState, number>> }) {
  const shown = latestJobs(table.all());
  return (
    <Card title="Jobs" aside={<Counts counts={counts} />} isFlush>
      {shown.length === 0 && isComplete.value ? (
        <Empty title="There is no job yet.">
          <p>
            <a href="/jobs/new">Submit one</a>, or run <code>kitty-kv job submit FILE</code>.
          </p>
        </Empty>
      ) : (
        <JobLines jobs={shown} />
      )}
    </Card>
  );
}

function Counts({ counts }: { counts: Readonly<Record<JobState, number>> }) {
  return (
    <span class="counts">
      {STATES.filter((state) => counts[state] > 0).map((state) => (
        <a key={state} href={`/jobs?state=${state}`}>
          <StateBadge state={state} /> {formatNumber(counts[state])}
        </a>
      ))}
      <a href="/jobs">All</a>
    </span>
  );
}

/** Those that run, then those that changed last. */
function latestJobs(jobs: Iterable<JobSummary>): JobSummary[] {
  const best: { job: JobSummary; key: string }[] = [];
  for (const job of jobs) {
    const isRunning = job.state === "running" || job.state === "starting";
    const key = `${isRunning ? "1" : "0"}${job.finishedAt ?? job.startedAt ?? job.createdAt}`;
    const last = best.at(-1);
    if (best.length === MOST && last !== undefined && key <= last.key) continue;
    best.push({ job, key });
    best.sort((a, b) => (a.key < b.key ? 1 : -1));
    best.length = Math.min(best.length, MOST);
  }
  return best.map(({ job }) => job);
}
