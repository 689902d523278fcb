import type { WireSubmission } from "../../../server/wire/cluster.js";
import { formatExact, formatNumber, formatUntil } from "../../model/format.js";
import { submissionTitle } from "../../model/cluster.js";
import { now } from "../../state/clock.js";
import { watchTable } from "../../state/live.js";
import { Card } from "../card.js";
import { Empty } from "../notice.js";
import { StackBar } from "../stack-bar.js";

/** This user's jobs in Slurm's queue: what of each runs and where, and why the rest waits. */
export function Submissions({ submissions }: { submissions: readonly WireSubmission[] }) {
  return (
    <Card title="My jobs in the queue" isFlush>
      {submissions.length === 0 ? (
        <Empty title="You have no jobs in the queue.">
          <p>
            <a href="/jobs/new">Submit one</a>: it runs on the cluster.
          </p>
        </Empty>
      ) : (
        <SubmissionList submissions={submissions} />
      )}
    </Card>
  );
}

/** Submissions one below the other. */
export function SubmissionList({ submissions }: { submissions: readonly WireSubmission[] }) {
  return (
    <ul class="submissions">
      {submissions.map((submission) => (
        <Submission key={submission.jobId} submission={submission} />
      ))}
    </ul>
  );
}

function Submission({ submission }: { submission: WireSubmission }) {
  const { jobId, pending, running, ended, reason, nodes } = submission;
  const table = watchTable();
  const { text, job } = submissionTitle(submission, (id) => table.get(id));
  const total = pending + running + ended;
  return (
    <li>
      <div class="submission-head">
        {job === undefined ? (
          <span class="submission-name">{text}</span>
        ) : (
          <a class="submission-name" href={`/jobs/${job}`}>
            {text}
          </a>
        )}
        <span class="muted">Slurm job {jobId}</span>
        <span class="submission-count">{total === 1 ? "" : `${formatNumber(total)} tasks`}</span>
      </div>
      <StackBar
        parts={[
          { kind: "good", count: ended, text: "ended" },
          { kind: "live", count: running, text: "running" },
          { kind: "wait", count: pending, text: "waiting" },
        ]}
      />
      <div class="submission-words">
        {ended === 0 ? null : <span>{formatNumber(ended)} ended</span>}
        {running === 0 ? null : (
          <span class="state state-running">
            <span class="dot" />
            {total === 1 ? "runs" : `${formatNumber(running)} run`}
            {nodes.length === 0 ? "" : ` on ${nodes.join(", ")}`}
          </span>
        )}
        {pending === 0 ? null : (
          <span class="state state-queued">
            <span class="dot" />
            {total === 1 ? "waits" : `${formatNumber(pending)} wait`}
          </span>
        )}
        {pending === 0 ? null : <span class="submission-reason">{reason ?? "no reason is given yet"}</span>}
        <ExpectedStart submission={submission} />
      </div>
    </li>
  );
}

function ExpectedStart({ submission: { pending, expectedStart } }: { submission: WireSubmission }) {
  if (pending === 0) return null;
  if (expectedStart === null) return <span class="muted">no start is estimated yet</span>;
  return (
    <span class="muted">
      expected to start{" "}
      <time dateTime={expectedStart} title={formatExact(expectedStart)}>
        {formatUntil(Date.parse(expectedStart), now.value)}
      </time>
    </span>
  );
}
