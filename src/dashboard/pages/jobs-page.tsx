import { useState } from "preact/hooks";
import { readQuery, writeQuery, type JobQuery } from "../model/job-query.js";
import { JobFilters } from "../parts/job-filters.js";
import { JobList } from "../parts/job-list.js";
import { Notice } from "../parts/notice.js";
import { PageHead } from "../parts/page-head.js";
import { SelectionBar } from "../parts/selection-bar.js";
import { navigate, place } from "../router.js";
import { loadError } from "../state/live.js";
import { useSelectedJobs } from "../state/use-selected-jobs.js";

/** All jobs: what to show is in the address. */
export function JobsPage() {
  const query = readQuery(new URLSearchParams(place.value.query));
  const jobs = useSelectedJobs(query, place.value.query);
  const [selected, setSelected] = useState<ReadonlySet<string>>(new Set());
  const change = (changes: Partial<JobQuery>): void => {
    navigate(`/jobs${writeQuery({ ...query, ...changes })}`, { isReplaced: true });
  };
  return (
    <div class="jobs-page">
      <PageHead title="Jobs">
        <a class="button" href="/report">
          Report
        </a>
        <a class="button primary" href="/jobs/new">
          New job
        </a>
      </PageHead>
      {loadError.value === undefined ? null : <Notice kind="error">{loadError.value}</Notice>}
      <JobFilters query={query} onChange={change} />
      <SelectionBar shown={jobs} selected={selected} onChange={setSelected} />
      <JobList jobs={jobs} query={query} onQuery={change} selected={selected} onSelect={setSelected} />
    </div>
  );
}
