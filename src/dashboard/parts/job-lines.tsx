import type { JobSummary } from "../../server/wire/jobs.js";
import { Ago } from "./ago.js";
import { Progress } from "./progress.js";
import { StateBadge } from "./state-badge.js";

/** Jobs in short, one a line: what each is, and how far or how long ago. */
export function JobLines({ jobs }: { jobs: readonly JobSummary[] }) {
  return (
    <ul class="job-lines">
      {jobs.map((job) => (
        <li key={job.id}>
          <StateBadge state={job.state} isCancelRequested={job.isCancelRequested} />
          <a href={`/jobs/${job.id}`} class="job-line-name">
            {job.name ?? job.id}
          </a>
          <span class="muted">{job.kind}</span>
          <span class="job-line-end">
            {job.state === "running" ? <Progress job={job} /> : <Ago time={job.finishedAt ?? job.createdAt} />}
          </span>
        </li>
      ))}
    </ul>
  );
}
