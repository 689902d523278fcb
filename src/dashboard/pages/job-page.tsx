import { useCallback, useMemo } from "preact/hooks";
import type { JobLogPage } from "../../server/wire/jobs.js";
import { call } from "../api/client.js";
import { readTimeline } from "../model/timeline.js";
import { Card } from "../parts/card.js";
import { JobInQueue } from "../parts/cluster/job-in-queue.js";
import { JobActions } from "../parts/job-actions.js";
import { JobChildren } from "../parts/job-children.js";
import { JobFacts } from "../parts/job-facts.js";
import { JobResult } from "../parts/job-result.js";
import { JobSpecView } from "../parts/job-spec.js";
import { JobTimeline } from "../parts/job-timeline.js";
import { LogView } from "../parts/log-view.js";
import { Empty, Loading, Notice } from "../parts/notice.js";
import { PageHead } from "../parts/page-head.js";
import { useJob } from "../state/use-job.js";

/** One job: where it is, what it says, what it found. */
export function JobPage({ id }: { id: string }) {
  const { data, error } = useJob(id);
  const read = useCallback(
    (offset: number, limitBytes: number, signal: AbortSignal) => {
      const query = `offset=${String(offset)}&limitBytes=${String(limitBytes)}`;
      return call<JobLogPage>(`/api/jobs/${encodeURIComponent(id)}/logs?${query}`, { signal });
    },
    [id],
  );
  const stretches = useMemo(() => readTimeline(data?.events ?? []), [data?.events]);
  if (data === undefined) {
    return (
      <>
        <PageHead over={<a href="/jobs">Jobs</a>} title={`Job ${id}`} />
        {error === undefined ? <Loading what="the job" /> : <NoJob error={error} />}
      </>
    );
  }
  const { job } = data;
  return (
    <>
      <PageHead over={<a href="/jobs">Jobs</a>} title={job.name ?? job.id}>
        <JobActions job={job} />
      </PageHead>
      {error === undefined ? null : <Notice kind="error">{error}</Notice>}
      {job.error === null ? null : (
        <Notice kind={job.state === "cancelled" ? "info" : "error"}>{job.error.message}</Notice>
      )}
      <JobFacts job={job} />
      <JobInQueue job={job} />
      {job.result === null ? null : <JobResult id={id} result={job.result} />}
      {job.kind === "sweep" ? <JobChildren parent={job.id} /> : null}
      <Card title="Log" isFlush>
        <LogView read={read} logKey={`${id}/${String(job.attempt)}`} />
      </Card>
      <div class="columns">
        <JobTimeline stretches={stretches} />
        <JobSpecView id={id} />
      </div>
    </>
  );
}

function NoJob({ error }: { error: string }) {
  return (
    <Empty title={error}>
      <p>
        <a href="/jobs">See all jobs</a>
      </p>
    </Empty>
  );
}
