import type { JobKind, JobSpec } from "./job-spec.js";
import type { JobState } from "./job-state.js";

/** A file in a job's folder. */
export interface JobFile {
  name: string;
  sizeBytes: number;
  sha256: string;
}

/** What a job that succeeded leaves: figures by kind, and the files in its folder. */
export interface JobResult {
  figures: Readonly<Record<string, unknown>>;
  files: readonly JobFile[];
}

/** Why a job, or its last attempt, did not succeed. */
export interface JobError {
  code: string;
  message: string;
  details: Readonly<Record<string, unknown>>;
}

export interface JobProgress {
  done: number;
  total: number;
}

/** A job as everybody outside sees it; times are ISO 8601 in UTC. */
export interface Job {
  id: string;
  kind: JobKind;
  name: string | null;
  state: JobState;
  spec: JobSpec;
  priority: number;
  /** The sweep that it belongs to. */
  parent: string | null;
  idempotencyKey: string | null;
  /** Attempts begun so far. */
  attempt: number;
  /** How many of them ended because an orchestrator died, which costs no retry. */
  lostAttempts: number;
  /** Whether somebody asked for its end while it runs. */
  isCancelRequested: boolean;
  progress: JobProgress | null;
  /** Of the last attempt that failed; stays while another one is tried. */
  error: JobError | null;
  result: JobResult | null;
  createdAt: string;
  startedAt: string | null;
  finishedAt: string | null;
}

/** What a list shows of a job: everything but what may be large. */
export type JobSummary = Omit<Job, "spec" | "result">;
