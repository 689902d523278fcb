import type { Job, JobSummary } from "../../server/wire/jobs.js";
import { MEASURING_KINDS } from "../../server/wire/reports.js";

/** Whether a report can be asked of a job; of a sweep's children only a whole job knows the kind. */
export function canReport(job: JobSummary | Job): boolean {
  if (job.state === "queued" || job.state === "starting") return false;
  if (job.kind === "sweep") return measures(job);
  if (!MEASURING_KINDS.includes(job.kind)) return false;
  // An evaluation keeps each item as it is answered; the others have figures at their end.
  return job.kind === "eval" || job.state === "succeeded";
}

/** The address of the report about jobs. */
export function reportAddress(ids: readonly string[]): string {
  return ids.length === 0 ? "/report" : `/report?jobs=${ids.map(encodeURIComponent).join(",")}`;
}

function measures(sweep: JobSummary | Job): boolean {
  if (!("spec" in sweep)) return true;
  const { base } = ((sweep as Job).spec["params"] ?? {}) as { base?: { kind?: JobSummary["kind"] } };
  return base?.kind !== undefined && MEASURING_KINDS.includes(base.kind);
}
