import { appendFileSync, existsSync } from "node:fs";
import { open } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { LineSplitter } from "../util/line-splitter.js";
import { instancePlace, readRecord, type InstancePlace } from "./instance-record.js";

const LIMIT_BYTES = 64 * 2 ** 20;
const POLL_MS = 200;
const CHUNK_BYTES = 64 * 1024;

/** What happens in an instance, and what its workers write to stderr, one line each. */
export class InstanceLog {
  readonly #place: InstancePlace;
  #sizeBytes = 0;

  constructor(name: string) {
    this.#place = instancePlace(name);
  }

  write(text: string): void {
    // With its folder the instance is gone, and a file would bring the folder back.
    if (this.#sizeBytes > LIMIT_BYTES || !existsSync(this.#place.folder)) return;
    const line = `${new Date().toISOString()} ${text}\n`;
    this.#sizeBytes += Buffer.byteLength(line);
    const isFull = this.#sizeBytes > LIMIT_BYTES;
    // A line is short and its order matters more than the few microseconds.
    appendFileSync(this.#place.log, isFull ? `${new Date().toISOString()} the log is full, nothing follows\n` : line);
  }
}

export interface ReadLogOptions {
  /** Goes on until the instance is gone or the signal fires. */
  follows?: boolean;
  signal?: AbortSignal | undefined;
}

/**
 * An instance's log, line by line.
 * @throws NotFoundError `instance_not_found`
 */
export async function* readInstanceLog(name: string, options: ReadLogOptions = {}): AsyncGenerator<string, void> {
  const { follows = false, signal } = options;
  await readRecord(name);
  const { log, folder } = instancePlace(name);
  const lines: string[] = [];
  const onLine = (line: Buffer): void => void lines.push(line.toString("utf8").trimEnd());
  const splitter = new LineSplitter({ limitBytes: CHUNK_BYTES, onLine, onTooLong: onLine });
  await using file = await openWhenThere(log, folder, options);
  if (file === undefined) return;
  for (let isOver = false; !isOver && signal?.aborted !== true;) {
    // Asked before reading, so that what was written just before the end is read too.
    const isGone = !existsSync(folder);
    const { bytesRead, buffer } = await file.read(Buffer.alloc(CHUNK_BYTES), 0, CHUNK_BYTES);
    splitter.push(buffer.subarray(0, bytesRead));
    isOver = bytesRead === 0 && (!follows || isGone);
    if (isOver) splitter.flush();
    yield* lines.splice(0);
    if (bytesRead === 0 && !isOver) await sleep(POLL_MS, undefined, { signal }).catch(() => undefined);
  }
}

async function openWhenThere(log: string, folder: string, { follows, signal }: ReadLogOptions) {
  while (!existsSync(log)) {
    if (follows !== true || signal?.aborted === true || !existsSync(folder)) return undefined;
    await sleep(POLL_MS, undefined, { signal }).catch(() => undefined);
  }
  return open(log, "r");
}
