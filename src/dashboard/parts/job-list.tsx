import { memo } from "preact/compat";
import { useCallback, useRef } from "preact/hooks";
import type { JobSummary } from "../../server/wire/jobs.js";
import { secondsRun } from "../model/eta.js";
import { formatDuration } from "../model/format.js";
import type { JobQuery, Sort } from "../model/job-query.js";
import { now } from "../state/clock.js";
import { isComplete, table } from "../state/live.js";
import { isNarrow } from "../state/width.js";
import { Ago } from "./ago.js";
import { Empty, Loading } from "./notice.js";
import { Progress } from "./progress.js";
import { StateBadge } from "./state-badge.js";
import { VirtualRows } from "./virtual-rows.js";

interface JobListProps {
  jobs: readonly JobSummary[];
  query: JobQuery;
  onQuery: (changes: Partial<JobQuery>) => void;
  selected: ReadonlySet<string>;
  onSelect: (selected: ReadonlySet<string>) => void;
}

const COLUMNS: readonly { sort: Sort; text: string }[] = [
  { sort: "state", text: "State" },
  { sort: "name", text: "Name" },
  { sort: "kind", text: "Kind" },
  { sort: "duration", text: "Time" },
  { sort: "created", text: "Submitted" },
];

/** The jobs as rows; however many there are. */
export function JobList({ jobs, query, onQuery, selected, onSelect }: JobListProps) {
  const latest = useRef(selected);
  latest.current = selected;
  // One function for good, as rows are not drawn again for another one.
  const toggle = useCallback((id: string) => {
    const next = new Set(latest.current);
    if (!next.delete(id)) next.add(id);
    onSelect(next);
  }, []);
  if (jobs.length === 0) return <NoJobs />;
  const areAll = selected.size > 0 && jobs.every(({ id }) => selected.has(id));
  const head = (
    <div role="rowgroup" class="job-head">
      <div role="row" aria-rowindex={1} class="job-row">
        <span role="columnheader">
          <input
            type="checkbox"
            aria-label="Choose all that are shown"
            checked={areAll}
            onChange={() => {
              onSelect(areAll ? new Set() : new Set(jobs.map(({ id }) => id)));
            }}
          />
        </span>
        {COLUMNS.map((column) => (
          <SortHead key={column.sort} {...column} query={query} onQuery={onQuery} />
        ))}
      </div>
    </div>
  );
  return (
    <VirtualRows
      label="Jobs"
      class="job-list"
      items={jobs}
      rowHeight={isNarrow.value ? 68 : 40}
      head={head}
      renderRow={(job) => <JobRow job={job} isSelected={selected.has(job.id)} onToggle={toggle} />}
    />
  );
}

interface SortHeadProps {
  sort: Sort;
  text: string;
  query: JobQuery;
  onQuery: JobListProps["onQuery"];
}

function SortHead({ sort, text, query, onQuery }: SortHeadProps) {
  const isSorted = query.sort === sort;
  const direction = query.isAscending ? "ascending" : "descending";
  return (
    <span role="columnheader" aria-sort={isSorted ? direction : "none"} class={`cell-${sort}`}>
      <button
        type="button"
        class="plain sort"
        onClick={() => {
          onQuery({ sort, isAscending: isSorted ? !query.isAscending : sort === "name" });
        }}
      >
        {text}
        <span aria-hidden="true">{isSorted ? (query.isAscending ? "↑" : "↓") : ""}</span>
      </button>
    </span>
  );
}

interface JobRowProps {
  job: JobSummary;
  isSelected: boolean;
  onToggle: (id: string) => void;
}

/** A job changes by being replaced, so an equal one need not be drawn again. */
const JobRow = memo(
  function JobRow({ job, isSelected, onToggle }: JobRowProps) {
    return (
      <div class={isSelected ? "job-row job-row-selected" : "job-row"}>
        <span role="cell">
          <input
            type="checkbox"
            aria-label={`Choose ${job.name ?? job.id}`}
            checked={isSelected}
            onChange={() => {
              onToggle(job.id);
            }}
          />
        </span>
        <span role="cell" class="cell-state">
          <StateBadge state={job.state} isCancelRequested={job.isCancelRequested} />
        </span>
        <span role="cell" class="cell-name">
          <a href={`/jobs/${job.id}`}>{job.name ?? job.id}</a>
          <Detail job={job} />
        </span>
        <span role="cell" class="cell-kind">
          {job.kind}
        </span>
        <span role="cell" class="cell-duration">
          <RunTime job={job} />
        </span>
        <span role="cell" class="cell-created">
          <Ago time={job.createdAt} />
        </span>
      </div>
    );
  },
  (a, b) => a.job === b.job && a.isSelected === b.isSelected,
);

/** How far it is, why it failed, or what it is part of. */
function Detail({ job }: { job: JobSummary }) {
  if (job.state === "running" && job.progress !== null) return <Progress job={job} />;
  if (job.error !== null) return <span class="cell-detail cell-error">{job.error.message}</span>;
  if (job.name !== null) return <span class="cell-detail">{job.id}</span>;
  return null;
}

function RunTime({ job }: { job: JobSummary }) {
  const seconds = secondsRun(job, job.finishedAt === null ? now.value : 0);
  return <>{seconds === undefined ? "–" : formatDuration(job.finishedAt === null ? Math.floor(seconds) : seconds)}</>;
}

function NoJobs() {
  if (table.size === 0 && !isComplete.value) return <Loading what="jobs" />;
  if (table.size > 0) return <Empty title="No job is like this. Take back a part of the search." />;
  return (
    <Empty title="There is no job yet.">
      <p>
        <a href="/jobs/new">Submit one here</a>, or run <code>kitty-kv job submit FILE</code>.
      </p>
    </Empty>
  );
}
