import { createHash } from "node:crypto";
import {
  closeSync,
  createReadStream,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  writeSync,
} from "node:fs";
import { rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { KittyError } from "../../errors.js";
import type { JobFile } from "../../job/job.js";

export const LOG_FILE = "log.txt";

/** The files of one job. */
export class JobFolder {
  readonly path: string;

  /** @param jobsFolder the folder of all jobs; `id` was made by the store, so it is no path */
  constructor(jobsFolder: string, id: string) {
    this.path = join(jobsFolder, id);
  }

  make(): void {
    writing("make the job's folder", this.path, () => mkdirSync(this.path, { recursive: true, mode: 0o700 }));
  }

  file(name: string): string {
    return join(this.path, name);
  }

  /** Writes a file so that whoever reads it, also after a crash, finds it whole or not at all. */
  write(name: string, parts: Iterable<string>): void {
    const path = this.file(name);
    const temporary = `${path}.new`;
    writing("write", path, () => {
      const file = openSync(temporary, "w", 0o600);
      try {
        for (const part of parts) writeAll(file, part);
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
      renameSync(temporary, path);
      this.#sync();
    });
  }

  /** Size and checksum of files of the folder. */
  async describe(names: readonly string[]): Promise<JobFile[]> {
    return await Promise.all(
      names.map(async (name) => {
        const hash = createHash("sha256");
        await pipeline(createReadStream(this.file(name)), hash);
        return { name, sizeBytes: (await stat(this.file(name))).size, sha256: hash.digest("hex") };
      }),
    );
  }

  /** Takes away what only a further attempt would have needed. */
  async removePartial(): Promise<void> {
    const names = readdirSync(this.path).filter((name) => name.includes(".partial") || name.endsWith(".new"));
    await Promise.all(names.map((name) => rm(this.file(name), { force: true })));
  }

  async remove(): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
  }

  /** Makes a rename last. */
  #sync(): void {
    const folder = openSync(this.path, "r");
    try {
      fsyncSync(folder);
    } finally {
      closeSync(folder);
    }
  }
}

/** Writes all of a text: a file size limit or a full disk ends a write in the middle before it is an error. */
export function writeAll(file: number, text: string): void {
  let rest = Buffer.from(text);
  while (rest.length > 0) rest = rest.subarray(writeSync(file, rest));
}

/** @throws KittyError `disk_full` or `job_files` */
export function writing<T>(what: string, path: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    const { code = "", message } = cause as NodeJS.ErrnoException;
    const isFull = ["ENOSPC", "EDQUOT", "EFBIG"].includes(code);
    const found = isFull ? "the disk is full, or a quota or file size limit is reached; free some space" : message;
    throw new KittyError(`Cannot ${what} ${JSON.stringify(path)}: ${found}`, {
      code: isFull ? "disk_full" : "job_files",
      details: { path, errno: code },
      cause,
    });
  }
}
