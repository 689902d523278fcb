import type { Job } from "../../job/job.js";
import type { JobFolder } from "./job-folder.js";

/** What an attempt works with. */
export interface AttemptContext {
  job: Job;
  folder: JobFolder;
  /** Fires when the job is cancelled, out of time, or given up by its orchestrator. */
  signal: AbortSignal;
  /** Whether the signal fired only because this place must be given up for a while: what is unfinished is worth keeping. */
  isInterrupted?: () => boolean;
  /** The jobs that must succeed first and have not yet, which this place has to wait for itself; a sweep's are its jobs. */
  openDependencies: () => readonly string[];
  /** The GPUs that are this job's alone. */
  gpus: readonly string[];
  /** The real work begins: `starting` becomes `running`; further calls change nothing. */
  begin: () => void;
  log: (line: string) => void;
  progress: (done: number, total: number) => void;
}

export interface Outcome {
  figures: Readonly<Record<string, unknown>>;
  /** Names of files that the attempt left in the job's folder. */
  files: readonly string[];
}

/** Does the work of one kind of job, from where an earlier attempt left it; rejects once its signal has fired. */
export type JobExecutor = (context: AttemptContext) => Promise<Outcome>;
