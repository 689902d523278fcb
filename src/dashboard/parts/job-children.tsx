import { watchTable } from "../state/live.js";
import { Ago } from "./ago.js";
import { Card } from "./card.js";
import { Progress } from "./progress.js";
import { StateBadge } from "./state-badge.js";

const COMPARED = 4;

/** The jobs that a sweep made. */
export function JobChildren({ parent }: { parent: string }) {
  const children = [...watchTable().all()].filter((job) => job.parent === parent).reverse();
  if (children.length === 0) return null;
  const compared = children.slice(0, COMPARED).map(({ id }) => id);
  return (
    <Card
      title={`${String(children.length)} children`}
      aside={
        children.length > 1 ? (
          <a href={`/compare?ids=${compared.join(",")}`}>Compare the first {compared.length}</a>
        ) : null
      }
      isFlush
    >
      <ul class="job-lines">
        {children.map((job) => (
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
    </Card>
  );
}
