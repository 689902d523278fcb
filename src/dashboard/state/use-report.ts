import { useCallback, useState } from "preact/hooks";
import type { JobReport } from "../../server/wire/reports.js";
import { call } from "../api/client.js";
import { hasEnded } from "../model/job-table.js";
import { watchTable } from "./live.js";
import { usePolled, type Polled } from "./use-polled.js";

const GROWS_MS = 5000;

interface FoundReport {
  /** Of which jobs, as the page may have gone on to others. */
  key: string;
  report: JobReport;
}

/** The report about jobs; while some of them run it is asked for again and again. */
export function useReport(ids: readonly string[]): Polled<JobReport | undefined> {
  const table = watchTable();
  const key = ids.join();
  // A sweep's children may go on for a moment when it has ended.
  const [isGrowing, setGrowing] = useState(false);
  const going = ids.filter((id) => !hasEnded(table.get(id)?.state ?? "succeeded")).join();
  const read = useCallback(
    async (signal: AbortSignal): Promise<FoundReport | undefined> => {
      if (ids.length === 0) return undefined;
      const report = await call<JobReport>("/api/reports", { body: { jobs: ids }, signal });
      setGrowing([...report.jobs, ...report.leftOut].some(({ state }) => !hasEnded(state)));
      return { key, report };
    },
    // Asked for anew when one of them ends.
    [key, going],
  );
  const polled = usePolled(read, isGrowing || going !== "" ? GROWS_MS : undefined);
  return { ...polled, data: polled.data?.key === key ? polled.data.report : undefined };
}
