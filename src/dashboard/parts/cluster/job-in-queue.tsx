import type { JobSummary } from "../../../server/wire/jobs.js";
import { submissionsOf } from "../../model/cluster.js";
import { hasEnded } from "../../model/job-table.js";
import { watchTable } from "../../state/live.js";
import { runner } from "../../state/runner.js";
import { useCluster } from "../../state/use-cluster.js";
import { Card } from "../card.js";
import { SubmissionList } from "./submissions.js";

/** Where a job is in Slurm's queue and why it waits, as long as it is there. */
export function JobInQueue({ job }: { job: JobSummary }) {
  return runner.value !== "slurm" || hasEnded(job.state) ? null : <InQueue id={job.id} />;
}

function InQueue({ id }: { id: string }) {
  const { data } = useCluster();
  const table = watchTable();
  const own = submissionsOf(id, data?.cluster.submissions ?? [], (other) => table.get(other));
  if (own.length === 0) return null;
  return (
    <Card title="In Slurm's queue" aside={<a href="/cluster">The cluster</a>} isFlush>
      <SubmissionList submissions={own} />
    </Card>
  );
}
