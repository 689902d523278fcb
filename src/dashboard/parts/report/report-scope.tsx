import type { JobReport, LeftOutJob } from "../../../server/wire/reports.js";
import { hasEnded } from "../../model/job-table.js";
import { Notice } from "../notice.js";

/** What the report is of, where that is less than all. */
export function ReportScope({ report: { jobs, leftOut } }: { report: JobReport }) {
  const partial = jobs.filter(({ isPartial }) => isPartial);
  if (partial.length + leftOut.length === 0) return null;
  const total = jobs.length + leftOut.length;
  const isGrowing = [...partial, ...leftOut].some(({ state }) => !hasEnded(state));
  return (
    <Notice kind={isGrowing ? "info" : "warning"}>
      <p>
        The report so far: {jobs.length - partial.length} of {total} jobs have all their results
        {partial.length === 0 ? "" : `, ${String(partial.length)} a part of them`}
        {leftOut.length === 0 ? "" : `, ${String(leftOut.length)} none`}.
        {isGrowing ? " It grows by itself as they go on." : " What is missing does not come by itself."}
      </p>
      {leftOut.length === 0 ? null : <LeftOut jobs={leftOut} />}
    </Notice>
  );
}

function LeftOut({ jobs }: { jobs: readonly LeftOutJob[] }) {
  return (
    <details>
      <summary>Who is left out, and why</summary>
      <ul class="left-out">
        {jobs.map(({ id, name, reason }) => (
          <li key={id}>
            <a href={`/jobs/${id}`}>{name ?? id}</a>: {reason}
          </li>
        ))}
      </ul>
    </details>
  );
}
