import { ConfigError } from "../../errors.js";
import type { JobLogPage } from "../../job/job-service.js";
import type { JobFolder } from "./job-folder.js";

const DEFAULT_LIMIT_BYTES = 64 * 1024;
const MAX_LIMIT_BYTES = 2 ** 20;

/**
 * Part of a job's log, cut between characters.
 * @throws ConfigError for an offset that is no whole number >= 0
 */
export async function readLogPage(
  folder: JobFolder,
  hasEnded: boolean,
  { offset = 0, limitBytes = DEFAULT_LIMIT_BYTES }: { offset?: number; limitBytes?: number },
): Promise<JobLogPage> {
  if (!Number.isSafeInteger(offset) || offset < 0) {
    throw new ConfigError(`Cannot read the log: offset must be a whole number >= 0, got ${String(offset)}`);
  }
  const limit = Math.min(Math.max(4, limitBytes), MAX_LIMIT_BYTES);
  const { bytes, sizeBytes } = await folder.readLog(offset, limit);
  const whole = bytes.subarray(0, wholeLength(bytes));
  const isEnd = hasEnded && bytes.length < limit;
  return { text: whole.toString("utf8"), offset, nextOffset: offset + whole.length, sizeBytes, isEnd };
}

/** How many bytes are left without a character that the end cuts. */
function wholeLength(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(4, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    // 10xxxxxx goes on with a character.
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
    return length > back ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}
