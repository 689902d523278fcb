import { rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { KittyError } from "../../errors.js";
import { writeWhole } from "../../runner/slurm-files.js";

/** A task ends with it when the shared folder could not be written for long; the orchestrator submits it again. */
export const FOLDER_EXIT_CODE = 74;

// Long enough for a server that starts again or a quota that somebody makes room in, and no longer than a node may idle.
const PATIENCE_MS = 300_000;
const LOOK_MS = 2000;
// A folder that takes small files and never a large one is no use to wait for.
const ROUNDS = 3;
const PROBE_BYTES = 64 * 1024;

export interface FolderWaitOptions {
  /** Of the job, on the shared file system. */
  folder: string;
  /** Ends the waiting: the node must be given up. */
  signal: AbortSignal;
  log: (line: string) => void;
  /** @default five minutes */
  patienceMs?: number | undefined;
}

/**
 * Does work that goes on where it stopped, again and again as long as it stops only because the shared folder is full,
 * read-only or away, and that passes.
 * @returns what the work returns, or `FOLDER_EXIT_CODE`
 * @throws what else the work throws; KittyError `disk_full` when it stops by it time and again
 */
export async function whileFolderMayReturn(options: FolderWaitOptions, work: () => Promise<number>): Promise<number> {
  for (let round = 1; ; round++) {
    try {
      return await work();
    } catch (error) {
      if (!isOfSharedFolder(error) || round > ROUNDS) throw error;
      options.log(`${error.message}; waiting until it can be written again`);
      if (!(await canBeWrittenSoon(options))) return FOLDER_EXIT_CODE;
      options.log("the shared folder can be written again; going on with what there is");
    }
  }
}

/** Whether it says that the shared folder could not be written: no fault of the job. */
export function isOfSharedFolder(error: unknown): error is KittyError {
  return error instanceof KittyError && ["disk_full", "job_files", "shared_folder"].includes(error.code);
}

async function canBeWrittenSoon({ folder, signal, patienceMs = PATIENCE_MS }: FolderWaitOptions): Promise<boolean> {
  const probe = join(folder, "slurm", "probe");
  for (const end = performance.now() + patienceMs; performance.now() < end && !signal.aborted;) {
    // An abort ends the wait early, and the loop after it.
    await sleep(Math.min(LOOK_MS, patienceMs), undefined, { signal }).catch(() => undefined);
    try {
      writeWhole(probe, "x".repeat(PROBE_BYTES), true);
      rmSync(probe, { force: true });
      return true;
    } catch (error) {
      if (!isOfSharedFolder(error)) throw error;
    }
  }
  return false;
}
