import { useState } from "preact/hooks";
import type { Job } from "../../server/wire/jobs.js";
import { canReport, reportAddress } from "../model/reportable.js";
import { actOnJobs, canCancel, canRetry, type JobAction } from "../state/job-actions.js";

/** What can be done with one job now. */
export function JobActions({ job }: { job: Job }) {
  const [isBusy, setBusy] = useState(false);
  const act = async (action: JobAction): Promise<void> => {
    setBusy(true);
    await actOnJobs(action, [job.id]);
    setBusy(false);
  };
  return (
    <>
      {canReport(job) ? (
        <a class="button" href={reportAddress([job.id])}>
          {job.state === "succeeded" ? "Report" : "Report so far"}
        </a>
      ) : null}
      <a class="button" href={`/compare?ids=${job.id}`}>
        Compare
      </a>
      <a class="button" href={`/jobs/new?from=${job.id}`}>
        Submit again
      </a>
      {canRetry(job) ? (
        <button type="button" class="primary" disabled={isBusy} onClick={() => void act("retry")}>
          Retry
        </button>
      ) : null}
      {canCancel(job) ? (
        <button type="button" class="danger" disabled={isBusy} onClick={() => void act("cancel")}>
          Cancel
        </button>
      ) : null}
    </>
  );
}
