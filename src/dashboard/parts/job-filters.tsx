import type { JobState } from "../../server/wire/jobs.js";
import { formatNumber } from "../model/format.js";
import { countStates, KINDS, STATES, type JobQuery } from "../model/job-query.js";
import { watchTable } from "../state/live.js";
import { StateBadge } from "./state-badge.js";

interface JobFiltersProps {
  query: JobQuery;
  onChange: (changes: Partial<JobQuery>) => void;
}

/** What of the jobs is shown. */
export function JobFilters({ query, onChange }: JobFiltersProps) {
  const counts = countStates(watchTable().all());
  const toggleState = (state: JobState): void => {
    onChange({ states: toggled(query.states, state) });
  };
  return (
    <div class="filters" role="search" aria-label="Filter jobs">
      <input
        type="search"
        placeholder="Search names, ids, errors"
        aria-label="Search names, ids and errors"
        value={query.text}
        onInput={(event) => {
          onChange({ text: event.currentTarget.value });
        }}
      />
      <select
        aria-label="Kind"
        value={query.kinds[0] ?? ""}
        onChange={({ currentTarget: { value } }) => {
          onChange({ kinds: value === "" ? [] : [value] });
        }}
      >
        <option value="">All kinds</option>
        {KINDS.map((kind) => (
          <option key={kind} value={kind}>
            {kind}
          </option>
        ))}
      </select>
      <div class="chips" role="group" aria-label="States">
        {STATES.map((state) => (
          <button
            key={state}
            type="button"
            class="chip"
            aria-pressed={query.states.includes(state)}
            onClick={() => {
              toggleState(state);
            }}
          >
            <StateBadge state={state} />
            <span class="chip-count">{formatNumber(counts[state])}</span>
          </button>
        ))}
      </div>
    </div>
  );
}

function toggled<T>(list: readonly T[], item: T): readonly T[] {
  return list.includes(item) ? list.filter((other) => other !== item) : [...list, item];
}
