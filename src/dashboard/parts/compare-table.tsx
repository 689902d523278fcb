import type { Job } from "../../server/wire/jobs.js";
import type { ComparedRow } from "../model/compare.js";
import { formatValue, titleOf } from "../model/figures.js";
import { Card } from "./card.js";
import { StateBadge } from "./state-badge.js";

interface CompareTableProps {
  title: string;
  jobs: readonly Job[];
  rows: readonly ComparedRow[];
  empty: string;
}

/** Name by name, one column a job. */
export function CompareTable({ title, jobs, rows, empty }: CompareTableProps) {
  return (
    <Card title={title} isFlush>
      <div class="scroll" tabIndex={0} role="region" aria-label={`Table: ${title}`}>
        <table class="compare">
          <thead>
            <tr>
              <th scope="col">
                <span class="hidden">Name</span>
              </th>
              {jobs.map((job) => (
                <th key={job.id} scope="col">
                  <a href={`/jobs/${job.id}`}>{job.name ?? job.id}</a> <StateBadge state={job.state} />
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map(({ name, values, isDifferent }) => (
              <tr key={name} class={isDifferent && jobs.length > 1 ? "different" : ""}>
                <th scope="row">{titleOf(name)}</th>
                {values.map((value, index) => (
                  <td key={index}>{formatValue(name, value)}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
        {rows.length === 0 ? <p class="loading">{empty}</p> : null}
      </div>
    </Card>
  );
}
