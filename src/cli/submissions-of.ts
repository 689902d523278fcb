import { ClusterView, KittyError, type Config, type Job, type JobService, type OwnSubmission } from "../index.js";
import type { Output } from "./output.js";

const PAGE = 500;

/** What is in Slurm's queue of a job, or of a sweep's children; none where jobs do not run there. */
export async function submissionsOf(
  job: Pick<Job, "id" | "kind">,
  config: Config,
  service: JobService,
  output: Output,
): Promise<OwnSubmission[]> {
  if (config.runner !== "slurm") return [];
  const ids = job.kind === "sweep" ? await childrenOf(job.id, service) : [job.id];
  try {
    return await new ClusterView(config).submissionsOf(new Set(ids));
  } catch (error) {
    // What the store knows of the job is shown all the same.
    if (!(error instanceof KittyError)) throw error;
    output.note(error.message);
    return [];
  }
}

async function childrenOf(parent: string, service: JobService): Promise<string[]> {
  const ids: string[] = [];
  for (let cursor: string | undefined; ;) {
    const { jobs, next } = await service.list({ parent, limit: PAGE, cursor });
    ids.push(...jobs.map(({ id }) => id));
    if (next === null) return ids;
    cursor = next;
  }
}
