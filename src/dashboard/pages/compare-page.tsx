import { useCallback, useState } from "preact/hooks";
import type { Job } from "../../server/wire/jobs.js";
import { call } from "../api/client.js";
import { compare, type ComparedRow } from "../model/compare.js";
import { formatValue, titleOf } from "../model/figures.js";
import { BarList } from "../parts/bar-list.js";
import { Card } from "../parts/card.js";
import { CompareTable } from "../parts/compare-table.js";
import { JobPicker } from "../parts/job-picker.js";
import { Empty, Loading, Notice } from "../parts/notice.js";
import { PageHead } from "../parts/page-head.js";
import { place } from "../router.js";
import { watchTable } from "../state/live.js";
import { usePolled } from "../state/use-polled.js";

const MOST = 4;

/** Up to four jobs side by side; which ones is in the address. */
export function ComparePage() {
  const ids = readIds(place.value.query);
  const key = ids.join();
  // Asked for anew when one of them ends.
  const states = ids.map((id) => watchTable().get(id)?.state).join();
  const read = useCallback(
    (signal: AbortSignal) => Promise.all(ids.map((id) => call<Job>(`/api/jobs/${encodeURIComponent(id)}`, { signal }))),
    [key, states],
  );
  const { data, error } = usePolled(read);
  const jobs = (data ?? []).filter(({ id }) => ids.includes(id));
  return (
    <>
      <PageHead over={<a href="/jobs">Jobs</a>} title="Compare" />
      {error === undefined ? null : <Notice kind="error">{error}</Notice>}
      <JobPicker ids={ids} most={MOST} toAddress={toAddress} isOffered={({ state }) => state === "succeeded"} />
      {ids.length === 0 ? <Empty title="Choose two to four jobs to see them side by side." /> : null}
      {data === undefined && ids.length > 0 && error === undefined ? <Loading what="the jobs" /> : null}
      {jobs.length === 0 ? null : <Comparison jobs={jobs} />}
    </>
  );
}

function Comparison({ jobs }: { jobs: readonly Job[] }) {
  const { spec, figures } = compare(jobs);
  const [isOnlyDifferent, setOnlyDifferent] = useState(true);
  const shown = (rows: readonly ComparedRow[]) =>
    isOnlyDifferent && jobs.length > 1 ? rows.filter((row) => row.isDifferent) : rows;
  return (
    <>
      <label class="check">
        <input
          type="checkbox"
          checked={isOnlyDifferent}
          onChange={() => {
            setOnlyDifferent(!isOnlyDifferent);
          }}
        />
        Only what differs
      </label>
      <ComparedFigure jobs={jobs} rows={figures} />
      <CompareTable title="Figures" jobs={jobs} rows={shown(figures)} empty="No figure differs." />
      <CompareTable title="Spec" jobs={jobs} rows={shown(spec)} empty="The specs are the same." />
    </>
  );
}

/** One figure of each as bars. */
function ComparedFigure({ jobs, rows }: { jobs: readonly Job[]; rows: readonly ComparedRow[] }) {
  const numeric = rows.filter(
    ({ values, isDifferent }) => isDifferent && values.some((value) => typeof value === "number"),
  );
  const [chosen, setChosen] = useState<string | undefined>();
  const row = numeric.find(({ name }) => name === chosen) ?? numeric[0];
  if (row === undefined) return null;
  const items = jobs.map((job, index) => {
    const value = row.values[index];
    return {
      name: job.name ?? job.id,
      value: typeof value === "number" ? value : null,
      text: formatValue(row.name, value),
    };
  });
  return (
    <Card
      title="Chart"
      aside={
        <select
          aria-label="Figure in the chart"
          class="fit"
          value={row.name}
          onChange={({ currentTarget }) => {
            setChosen(currentTarget.value);
          }}
        >
          {numeric.map(({ name }) => (
            <option key={name} value={name}>
              {titleOf(name)}
            </option>
          ))}
        </select>
      }
    >
      <BarList label={titleOf(row.name)} items={items} />
    </Card>
  );
}

function toAddress(ids: readonly string[]): string {
  return ids.length === 0 ? "/compare" : `/compare?ids=${ids.join(",")}`;
}

function readIds(query: string): string[] {
  const ids = (new URLSearchParams(query).get("ids") ?? "").split(",").filter((id) => id !== "");
  return [...new Set(ids)].slice(0, MOST);
}
