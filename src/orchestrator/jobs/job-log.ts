import { closeSync, openSync } from "node:fs";
import { LOG_FILE, writeAll, writing, type JobFolder } from "./job-folder.js";

const LIMIT_BYTES = 64 * 2 ** 20;

/** What a job says while it runs, of all its attempts, one line after another. */
export class JobLog {
  readonly #file: number;
  readonly #path: string;
  #writtenBytes = 0;

  constructor(folder: JobFolder) {
    this.#path = folder.file(LOG_FILE);
    this.#file = writing("open the log", this.#path, () => openSync(this.#path, "a", 0o600));
  }

  /** @throws KittyError `disk_full` */
  write(line: string): void {
    if (this.#writtenBytes > LIMIT_BYTES) return;
    const text = `${new Date().toISOString()} ${line}\n`;
    this.#writtenBytes += text.length;
    const isLast = this.#writtenBytes > LIMIT_BYTES;
    const whole = isLast ? `${text}The log of this attempt ends here: it has ${String(LIMIT_BYTES)} bytes\n` : text;
    writing("write the log", this.#path, () => {
      writeAll(this.#file, whole);
    });
  }

  close(): void {
    closeSync(this.#file);
  }
}
