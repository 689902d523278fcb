import { formatOf, parseRecords } from "./records.js";
import { runSlurm, type SlurmOptions } from "./run-slurm.js";

export interface Step {
  /** As scancel takes it: `12.3`. */
  id: string;
  name: string;
}

/** The steps that run in a job. */
export async function runningSteps(jobId: string, options?: SlurmOptions): Promise<Step[]> {
  const args = ["--steps", "--jobs", jobId, "--noheader", "--Format", formatOf(["StepID", "StepName"])];
  return parseSteps((await runSlurm("squeue", args, "see what runs in an allocation", options)).stdout);
}

/** What `squeue --steps --Format` wrote with our fields. */
export function parseSteps(text: string): Step[] {
  return parseRecords(text, 2).map(([id = "", name = ""]) => ({ id, name }));
}
