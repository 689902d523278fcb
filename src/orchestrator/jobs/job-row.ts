import { createHash } from "node:crypto";
import type { JobKind, JobSpec } from "../../job/job-spec.js";
import type { JobState } from "../../job/job-state.js";
import type { Job, JobError, JobProgress, JobResult, JobSummary } from "../../job/job.js";
import type { Row, Value } from "./database.js";

/** The columns of a list: all but the spec and the result, which may be large. */
export const SUMMARY_COLUMNS =
  "seq, id, kind, name, state, priority, parent, idempotency_key, attempt, lost_attempts, cancel_requested, progress, error, created_at, started_at, finished_at";

export function toSummary(row: Row): JobSummary {
  return {
    id: String(row["id"]),
    kind: row["kind"] as JobKind,
    name: toText(row["name"]),
    state: row["state"] as JobState,
    priority: Number(row["priority"]),
    parent: toText(row["parent"]),
    idempotencyKey: toText(row["idempotency_key"]),
    attempt: Number(row["attempt"]),
    lostAttempts: Number(row["lost_attempts"]),
    isCancelRequested: row["cancel_requested"] === 1,
    progress: fromJson(row["progress"]) as JobProgress | null,
    error: fromJson(row["error"]) as JobError | null,
    createdAt: new Date(Number(row["created_at"])).toISOString(),
    startedAt: toTime(row["started_at"]),
    finishedAt: toTime(row["finished_at"]),
  };
}

export function toJob(row: Row): Job {
  const spec = JSON.parse(String(row["spec"])) as JobSpec;
  return { ...toSummary(row), spec, result: fromJson(row["result"]) as JobResult | null };
}

/** The same for equal specs, in whatever order their keys were written. */
export function hashSpec(spec: JobSpec): string {
  return createHash("sha256")
    .update(JSON.stringify(sorted(spec)))
    .digest("hex");
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, inner]) => [key, sorted(inner)]));
}

function toText(value: Value | undefined): string | null {
  return typeof value === "string" ? value : null;
}

function toTime(value: Value | undefined): string | null {
  return typeof value === "number" ? new Date(value).toISOString() : null;
}

function fromJson(value: Value | undefined): unknown {
  return typeof value === "string" ? JSON.parse(value) : null;
}
