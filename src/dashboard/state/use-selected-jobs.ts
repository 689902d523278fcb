import { useEffect, useRef, useState } from "preact/hooks";
import type { JobSummary } from "../../server/wire/jobs.js";
import { select, type JobQuery } from "../model/job-query.js";
import { table, version } from "./live.js";

/**
 * The jobs that a query wants, as they change. At once after a pause; while events rain, as often as leaves the page four
 * times as much time for everything else.
 */
export function useSelectedJobs(query: JobQuery, key: string): readonly JobSummary[] {
  const [jobs, setJobs] = useState<readonly JobSummary[]>(() => select(table.all(), query, Date.now()));
  const pending = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const free = useRef(0);
  const current = useRef(query);
  current.current = query;
  const look = (): void => {
    pending.current = undefined;
    const begun = performance.now();
    setJobs(select(table.all(), current.current, Date.now()));
    free.current = performance.now() + 4 * (performance.now() - begun);
  };
  useEffect(() => {
    look();
  }, [key]);
  useEffect(
    () =>
      version.subscribe(() => {
        pending.current ??= setTimeout(look, Math.max(0, free.current - performance.now()));
      }),
    [],
  );
  useEffect(
    () => () => {
      clearTimeout(pending.current);
    },
    [],
  );
  return jobs;
}
