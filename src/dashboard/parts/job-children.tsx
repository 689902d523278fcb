import { watchTable } from "../state/live.js";
import { Card } from "./card.js";
import { JobLines } from "./job-lines.js";

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
      <JobLines jobs={children} />
    </Card>
  );
}
