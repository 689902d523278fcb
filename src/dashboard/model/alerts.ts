import type { WireInstance } from "../../server/wire/instances.js";
import type { JobSummary } from "../../server/wire/jobs.js";
import type { System, UsageSample } from "../../server/wire/system.js";

export interface Alert {
  kind: "error" | "warning" | "info";
  text: string;
  /** Where to look or act. */
  href?: string;
}

export interface Situation {
  jobs: Iterable<JobSummary>;
  system: System | undefined;
  latest: UsageSample | undefined;
  instances: readonly WireInstance[];
  now: number;
}

const RECENT_MS = 3_600_000;
const WAITS_LONG_MS = 600_000;
const FULL_GPU = 0.95;

/** What somebody should know now, in plain words, the worst first. */
export function findAlerts(situation: Situation): Alert[] {
  return [
    ...ofSystem(situation.system),
    ...ofJobs(situation.jobs, situation.now),
    ...ofInstances(situation.instances),
    ...ofGpus(situation.latest),
  ].sort((a, b) => ORDER[a.kind] - ORDER[b.kind]);
}

const ORDER = { error: 0, warning: 1, info: 2 };

function ofSystem(system: System | undefined): Alert[] {
  if (system === undefined || system.ready) return [];
  return [{ kind: "info", text: "The model is not loaded yet; prompts wait until it is.", href: "/system" }];
}

function ofJobs(jobs: Iterable<JobSummary>, now: number): Alert[] {
  let failed = 0;
  let timedOut = 0;
  let retried = 0;
  let oldestWait = 0;
  let running = 0;
  for (const job of jobs) {
    const isRecent = job.finishedAt !== null && now - Date.parse(job.finishedAt) < RECENT_MS;
    if (job.state === "failed" && isRecent) failed += 1;
    if (job.state === "timed_out" && isRecent) timedOut += 1;
    if (job.state === "running" || job.state === "starting") running += 1;
    if (job.state === "running" && job.attempt > 1) retried += 1;
    if (job.state === "queued") oldestWait = Math.max(oldestWait, now - Date.parse(job.createdAt));
  }
  const alerts: Alert[] = [];
  if (failed > 0) alerts.push({ kind: "error", text: `${jobCount(failed)} failed in the last hour.`, href: FAILED });
  if (timedOut > 0) {
    alerts.push({ kind: "error", text: `${jobCount(timedOut)} ran out of time in the last hour.`, href: TIMED_OUT });
  }
  if (retried > 0)
    alerts.push({ kind: "warning", text: `${jobCount(retried)} run again after a failed attempt.`, href: RUNNING });
  if (running === 0 && oldestWait > WAITS_LONG_MS) {
    const minutes = String(Math.floor(oldestWait / 60_000));
    alerts.push({ kind: "warning", text: `Nothing runs, and a job has waited ${minutes} min.`, href: QUEUED });
  }
  return alerts;
}

const FAILED = "/jobs?state=failed&sort=finished.desc";
const TIMED_OUT = "/jobs?state=timed_out&sort=finished.desc";
const RUNNING = "/jobs?state=running";
const QUEUED = "/jobs?state=queued";

function jobCount(count: number): string {
  return count === 1 ? "One job" : `${String(count)} jobs`;
}

function ofInstances(instances: readonly WireInstance[]): Alert[] {
  return instances
    .filter(({ state }) => state === "dead" || state === "orphaned")
    .map(({ name, state }) => ({
      kind: "warning",
      text: state === "dead" ? `Instance ${name} has died.` : `Instance ${name} runs, but whoever started it is gone.`,
      href: "/instances",
    }));
}

function ofGpus(latest: UsageSample | undefined): Alert[] {
  return (latest?.gpus ?? [])
    .map(({ usedBytes, totalBytes }, index) => ({ index, share: usedBytes / totalBytes }))
    .filter(({ share }) => share > FULL_GPU)
    .map(({ index, share }) => ({
      kind: "warning",
      text: `GPU ${String(index)} has ${String(Math.round(share * 100))}% of its memory in use; new sessions may not fit.`,
    }));
}
