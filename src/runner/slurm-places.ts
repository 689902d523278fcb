import { KittyError } from "../errors.js";
import type { TaskPlace } from "./slurm-files.js";
import type { Placed, Placement } from "./slurm-submitter.js";

/** Of an attempt that has to wait for its dependencies again; it is no failure. */
export const DEPENDENCY_UNMET = "dependency_unmet";

/** Where jobs are in Slurm now, so that others can wait for them there. */
export class SlurmPlaces {
  readonly #byJob = new Map<string, Placed>();
  readonly #onChange: (job: string, isPlaced: boolean) => void;

  /** @param onChange hears that a job can be waited for in Slurm, or that it cannot any more */
  constructor(onChange: (job: string, isPlaced: boolean) => void) {
    this.#onChange = onChange;
  }

  set(job: string, placement: Placement): void {
    this.#byJob.set(job, { ...placement, job });
    this.#onChange(job, true);
  }

  /** Forgets a job's place, if it still is this one: a job that was submitted again has another. */
  remove(job: string, { batch, index }: TaskPlace): void {
    const known = this.#byJob.get(job);
    if (known?.batch !== batch || known.index !== index) return;
    this.#byJob.delete(job);
    this.#onChange(job, false);
  }

  /** @throws KittyError `dependency_unmet` when one of them is nowhere now */
  all(jobs: readonly string[], waiting: string): Placed[] {
    return jobs.map((job) => {
      const placed = this.#byJob.get(job);
      if (placed === undefined) throw unmetError(waiting, `job ${job} is not in Slurm now`);
      return placed;
    });
  }
}

export function unmetError(job: string, found: string): KittyError {
  return new KittyError(`Job ${job} waits again for those that it depends on: ${found}`, { code: DEPENDENCY_UNMET });
}
