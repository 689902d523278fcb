import { basename, join } from "node:path";
import type { Config } from "../config/schema.js";
import { readTasks } from "../runner/slurm-files.js";
import { sharedFolder } from "../runner/slurm-node-config.js";
import type { SubmissionStatus } from "../runner/slurm-status.js";

const MOST_NAMED = 20;
const MOST_KEPT = 1000;

/** A submission, and which jobs of this orchestrator its tasks are. */
export interface OwnSubmission extends SubmissionStatus {
  /** The first of them; none where somebody else submitted it. */
  jobs: string[];
}

/** Knows submissions of this orchestrator by the files that it wrote for them. */
export class OwnSubmissions {
  readonly #config: Config;
  /** Ids of jobs by the name of the submission, which never change. */
  readonly #known = new Map<string, readonly string[]>();

  constructor(config: Config) {
    this.#config = config;
  }

  /** Adds the jobs, and counts those tasks as ended that Slurm has forgotten. */
  describe(submission: SubmissionStatus): OwnSubmission {
    const jobs = this.jobsOf(submission.name);
    const { pending, running, ended } = submission;
    return { ...submission, ended: Math.max(ended, jobs.length - pending - running), jobs: jobs.slice(0, MOST_NAMED) };
  }

  /** The ids of all its jobs, in the order of the tasks; none where it is not of this orchestrator. */
  jobsOf(name: string): readonly string[] {
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    // A name that somebody chose is no path.
    if (!/^kitty-kv-[0-9a-f]+-[0-9a-f]+$/.test(name)) return [];
    const jobs = (readTasks(join(sharedFolder(this.#config), "slurm", name)) ?? []).map((folder) => basename(folder));
    if (this.#known.size >= MOST_KEPT) this.#known.clear();
    // One that is being submitted has no list yet.
    if (jobs.length > 0) this.#known.set(name, jobs);
    return jobs;
  }
}
