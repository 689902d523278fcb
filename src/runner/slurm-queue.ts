import { userInfo } from "node:os";
import { siteConfig, type SiteConfig } from "../slurm/scontrol.js";
import { squeue, type KnownJob } from "../slurm/squeue.js";

/** What Slurm says of this user's jobs; whoever asks at the same time gets the same answer. */
export class SlurmQueue {
  /** How often each command was called, for those who count. */
  readonly calls = { squeue: 0, sacct: 0, sbatch: 0, scancel: 0 };
  #asking: Promise<KnownJob[]> | undefined;
  #site: Promise<SiteConfig> | undefined;

  /** @throws SlurmError, NotFoundError */
  look(): Promise<KnownJob[]> {
    this.#asking ??= this.#look().finally(() => {
      this.#asking = undefined;
    });
    return this.#asking;
  }

  /** The site's configuration, asked for once. */
  site(): Promise<SiteConfig> {
    this.#site ??= siteConfig("read Slurm's configuration").catch((error: unknown) => {
      this.#site = undefined;
      throw error;
    });
    return this.#site;
  }

  async #look(): Promise<KnownJob[]> {
    this.calls.squeue += 1;
    return await squeue(userInfo().username, "follow jobs");
  }
}

/** Whether a job of the queue is the submission of this name: numbers are used again, names are not. */
export function isSubmission({ name, comment }: KnownJob, batch: string): boolean {
  return name === batch || comment === batch;
}
