import { appendFileSync, closeSync, fstatSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { BATCH_FILES, sharedFolderError } from "./slurm-files.js";

const LIMIT_BYTES = 1 << 20;

/** Reads what nodes appended to the notices of batches since the last time. */
export class NoticeReader {
  readonly #offsets = new Map<string, number>();

  /** @returns the numbers of the tasks that said something */
  read(batchFolder: string): Set<number> {
    const offset = this.#offsets.get(batchFolder) ?? 0;
    const text = readFrom(join(batchFolder, BATCH_FILES.notices), offset);
    this.#offsets.set(batchFolder, offset + text.length);
    const numbers = text.toString("latin1").split("\n");
    return new Set(numbers.filter((line) => /^\d+$/.test(line)).map(Number));
  }
}

/** Says that there is something to see of a task; a notice that is lost costs time only. */
export function writeNotice(batchFolder: string, index: number): void {
  try {
    appendFileSync(join(batchFolder, BATCH_FILES.notices), `${String(index)}\n`, { mode: 0o600 });
  } catch {
    // The folder is full or read-only just now; the next look finds it out.
  }
}

/**
 * The whole lines of a file from an offset on; none where there is no file.
 * @throws KittyError `shared_folder`
 */
export function readFrom(path: string, offset: number): Buffer {
  let file: number;
  try {
    file = openSync(path, "r");
  } catch (error) {
    if (["ENOENT", "ESTALE"].includes((error as NodeJS.ErrnoException).code ?? "")) return Buffer.alloc(0);
    throw sharedFolderError(path, error as NodeJS.ErrnoException, "read");
  }
  try {
    const size = Math.min(fstatSync(file).size - offset, LIMIT_BYTES);
    if (size <= 0) return Buffer.alloc(0);
    const buffer = Buffer.alloc(size);
    const length = readSync(file, buffer, 0, size, offset);
    const part = buffer.subarray(0, length);
    const whole = part.lastIndexOf("\n") + 1;
    // A line longer than that is taken as it is, or nothing would ever follow it.
    return part.subarray(0, whole === 0 && length === LIMIT_BYTES ? length : whole);
  } catch (error) {
    throw sharedFolderError(path, error as NodeJS.ErrnoException, "read");
  } finally {
    closeSync(file);
  }
}
