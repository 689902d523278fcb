import { open } from "node:fs/promises";
import { basename } from "node:path";
import type { Readable } from "node:stream";
import { NotFoundError } from "../../errors.js";

/** @throws NotFoundError `job_file_not_found` when somebody removed it from the job's folder */
export async function openJobFile(path: string, id: string): Promise<Readable> {
  try {
    // Opened here, so that what is missing is told before anything is read.
    return (await open(path, "r")).createReadStream();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    throw fileNotFound(id, basename(path), []);
  }
}

/** @param known the files that the job's result names */
export function fileNotFound(id: string, name: string, known: readonly string[]): NotFoundError {
  const found = known.length === 0 ? "it has no files" : `its files are ${known.join(", ")}`;
  return new NotFoundError(`Cannot read ${JSON.stringify(name.slice(0, 100))} of job ${id}: ${found}`, {
    code: "job_file_not_found",
    details: { id, name: name.slice(0, 100), known },
  });
}
