import type { ComponentChildren } from "preact";
import type { Job } from "../../server/wire/jobs.js";
import { secondsRun } from "../model/eta.js";
import { formatDuration } from "../model/format.js";
import { now } from "../state/clock.js";
import { Ago } from "./ago.js";
import { Progress } from "./progress.js";
import { StateBadge } from "./state-badge.js";

/** A job in one line. */
export function JobFacts({ job }: { job: Job }) {
  const run = secondsRun(job, now.value);
  const cache = job.spec["cache"] as { preset?: string } | undefined;
  return (
    <dl class="facts card">
      <Fact name="State">
        <StateBadge state={job.state} isCancelRequested={job.isCancelRequested} />
      </Fact>
      {job.progress === null || job.finishedAt !== null ? null : (
        <Fact name="Progress">
          <Progress job={job} />
        </Fact>
      )}
      <Fact name="Kind">{job.kind}</Fact>
      {cache?.preset === undefined ? null : <Fact name="Preset">{cache.preset}</Fact>}
      <Fact name="Submitted">
        <Ago time={job.createdAt} />
      </Fact>
      <Fact name="Time">
        {run === undefined ? "not started" : formatDuration(job.finishedAt === null ? Math.floor(run) : run)}
      </Fact>
      {job.attempt > 1 ? <Fact name="Attempt">{job.attempt}</Fact> : null}
      {job.priority === 0 ? null : <Fact name="Priority">{job.priority}</Fact>}
      {job.parent === null ? null : (
        <Fact name="Part of">
          <a href={`/jobs/${job.parent}`}>{job.parent}</a>
        </Fact>
      )}
      <Fact name="Id">
        <code>{job.id}</code>
      </Fact>
    </dl>
  );
}

function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
