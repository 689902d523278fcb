import type { JobSummary } from "../../server/wire/jobs.js";

/** Seconds until a running job is done if it goes on as it did; undefined where nothing tells. */
export function secondsLeft(
  job: Pick<JobSummary, "state" | "progress" | "startedAt">,
  now: number,
): number | undefined {
  if (job.state !== "running" || job.progress === null || job.startedAt === null) return undefined;
  const { done, total } = job.progress;
  const elapsed = (now - Date.parse(job.startedAt)) / 1000;
  if (done <= 0 || total <= 0 || elapsed <= 0) return undefined;
  return Math.max(0, (elapsed / done) * (total - done));
}

/** Seconds from the first start to the end, or to now. */
export function secondsRun(job: Pick<JobSummary, "startedAt" | "finishedAt">, now: number): number | undefined {
  if (job.startedAt === null) return undefined;
  const end = job.finishedAt === null ? now : Date.parse(job.finishedAt);
  return Math.max(0, (end - Date.parse(job.startedAt)) / 1000);
}
