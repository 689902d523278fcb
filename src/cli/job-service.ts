import { KittyError, Kitty, LocalJobService, type Config, type JobService } from "../index.js";
import type { Output } from "./output.js";

/** A job service for as long as a command runs. */
export interface OpenJobs extends AsyncDisposable {
  service: JobService;
}

/** Jobs stored and followed, but not run, by this process. */
export function openJobs(config: Config): OpenJobs {
  const service = new LocalJobService({ config });
  return { service, [Symbol.asyncDispose]: () => service.close() };
}

/** Jobs that this process runs, unless another orchestrator of the same folder does: then they are followed. */
export async function openRunningJobs(config: Config, output: Output, signal: AbortSignal): Promise<OpenJobs> {
  const kitty = await Kitty.start({ config, onLog: output.log, signal });
  try {
    return { service: kitty.jobs.service, [Symbol.asyncDispose]: () => kitty.close() };
  } catch (error) {
    await kitty.close();
    if (!(error instanceof KittyError) || error.code !== "orchestrator_running") throw error;
    output.note("Another orchestrator runs the jobs of this folder; following it");
    return openJobs(config);
  }
}
