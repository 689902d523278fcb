import { messageOf } from "./client.js";

/** A part of a log, of a job or an instance. */
export interface LogPageLike {
  text: string;
  offset: number;
  nextOffset: number;
  sizeBytes: number;
  isEnd: boolean;
}

export type ReadLog = (offset: number, limitBytes: number, signal: AbortSignal) => Promise<LogPageLike>;

export interface FollowLogOptions {
  signal: AbortSignal;
  /** Hears once at which byte the first page begins. */
  onStart: (offset: number) => void;
  onPage: (page: LogPageLike) => void;
  onError: (message: string) => void;
}

export const PART_BYTES = 256 * 1024;
const FOLLOW_MS = 600;
const RETRY_MS = 3000;

/** Reads a log from its last part on and then what is new of it, until it ends or the signal fires. */
export async function followLog(read: ReadLog, { signal, onStart, onPage, onError }: FollowLogOptions): Promise<void> {
  let next: number | undefined;
  const isOver = (): boolean => signal.aborted;
  while (!isOver()) {
    let pause = FOLLOW_MS;
    try {
      if (next === undefined) onStart((next = await findStart(read, signal)));
      const page = await read(next, PART_BYTES, signal);
      onPage(page);
      if (page.isEnd) return;
      next = page.nextOffset;
      if (next < page.sizeBytes) pause = 0;
    } catch (error) {
      if (!isOver()) onError(messageOf(error));
      pause = RETRY_MS;
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

/** A long log is read from its end: what was said last is what people look for. */
async function findStart(read: ReadLog, signal: AbortSignal): Promise<number> {
  const { sizeBytes } = await read(0, 4, signal);
  return sizeBytes <= 2 * PART_BYTES ? 0 : sizeBytes - PART_BYTES;
}
