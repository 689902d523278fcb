import type { Config } from "../config/schema.js";
import { NotFoundError } from "../errors.js";
import { clusterStatus, type ClusterStatus } from "../runner/slurm-status.js";
import { OwnSubmissions, type OwnSubmission } from "./own-submissions.js";

// However many look at it, Slurm is asked this often at most.
const FRESH_MS = 3000;

/** The cluster, with this orchestrator's own jobs named. */
export interface OwnCluster extends ClusterStatus {
  submissions: OwnSubmission[];
}

/** The cluster for any number of viewers. */
export class ClusterView {
  readonly #config: Config;
  readonly #own: OwnSubmissions;
  #latest: { askedMs: number; status: Promise<OwnCluster> } | undefined;

  constructor(config: Config) {
    this.#config = config;
    this.#own = new OwnSubmissions(config);
  }

  /** @throws NotFoundError `slurm_not_configured`, and what `clusterStatus` throws */
  async status(): Promise<OwnCluster> {
    const { runner } = this.#config;
    if (runner !== "slurm") {
      throw new NotFoundError(
        `Cannot look at the cluster: jobs here run with runner ${JSON.stringify(runner)}, set runner: slurm (configs/slurm.yaml)`,
        { code: "slurm_not_configured", details: { runner } },
      );
    }
    const now = performance.now();
    if (this.#latest === undefined || now - this.#latest.askedMs > FRESH_MS) {
      const latest = { askedMs: now, status: this.#look() };
      this.#latest = latest;
      // A failure is no answer to keep.
      latest.status.catch(() => {
        if (this.#latest === latest) this.#latest = undefined;
      });
    }
    return await this.#latest.status;
  }

  /** Those in the queue that run any of these jobs. */
  async submissionsOf(ids: ReadonlySet<string>): Promise<OwnSubmission[]> {
    const { submissions } = await this.status();
    return submissions.filter(({ name }) => this.#own.jobsOf(name).some((id) => ids.has(id)));
  }

  async #look(): Promise<OwnCluster> {
    const status = await clusterStatus();
    return { ...status, submissions: status.submissions.map((submission) => this.#own.describe(submission)) };
  }
}
