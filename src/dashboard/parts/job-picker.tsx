import type { JobSummary } from "../../server/wire/jobs.js";
import { readQuery, select } from "../model/job-query.js";
import { navigate } from "../router.js";
import { watchTable } from "../state/live.js";
import { Icon } from "./icon.js";

const OFFERED = 200;

interface JobPickerProps {
  ids: readonly string[];
  most: number;
  /** Where the page shows jobs, which may be none. */
  toAddress: (ids: readonly string[]) => string;
  isOffered: (job: JobSummary) => boolean;
}

/** Which jobs a page is about: those that it shows, each to be taken out, and others to be put in. */
export function JobPicker({ ids, most, toAddress, isOffered }: JobPickerProps) {
  const table = watchTable();
  const show = (next: readonly string[]): void => {
    navigate(toAddress(next), { isReplaced: true });
  };
  // What is left out first is not sorted: there may be many jobs, and events come in every frame.
  const offered = [...table.all()].filter((job) => isOffered(job) && !ids.includes(job.id));
  const others = select(offered, readQuery(new URLSearchParams()), 0).slice(0, OFFERED);
  return (
    <div class="picker">
      {ids.map((id) => (
        <span key={id} class="picked">
          {table.get(id)?.name ?? id}
          <button
            type="button"
            class="plain"
            aria-label={`Take out ${table.get(id)?.name ?? id}`}
            onClick={() => {
              show(ids.filter((other) => other !== id));
            }}
          >
            <Icon name="close" />
          </button>
        </span>
      ))}
      {ids.length >= most ? null : (
        <select
          aria-label="Put a job in"
          class="fit"
          value=""
          onChange={({ currentTarget }) => {
            show([...ids, currentTarget.value]);
          }}
        >
          <option value="">Put a job in …</option>
          {others.map(({ id, name, kind }) => (
            <option key={id} value={id}>
              {name ?? id} ({kind})
            </option>
          ))}
        </select>
      )}
    </div>
  );
}
