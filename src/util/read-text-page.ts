import { open } from "node:fs/promises";

export interface TextPage {
  text: string;
  /** Bytes from the beginning of the file, where `text` begins and ends. */
  offset: number;
  nextOffset: number;
  /** Of the whole file, as it is now. */
  sizeBytes: number;
  /** Whether the file had no more than this. */
  isLast: boolean;
}

const DEFAULT_LIMIT_BYTES = 64 * 1024;
const MAX_LIMIT_BYTES = 2 ** 20;

/** Part of a UTF-8 file, cut between characters; an empty one where there is no file. */
export async function readTextPage(
  path: string,
  { offset, limitBytes = DEFAULT_LIMIT_BYTES }: { offset: number; limitBytes?: number | undefined },
): Promise<TextPage> {
  const limit = Math.min(Math.max(4, limitBytes), MAX_LIMIT_BYTES);
  const { bytes, sizeBytes } = await readBytes(path, offset, limit);
  const whole = bytes.subarray(0, wholeLength(bytes));
  return {
    text: whole.toString("utf8"),
    offset,
    nextOffset: offset + whole.length,
    sizeBytes,
    isLast: bytes.length < limit,
  };
}

async function readBytes(path: string, offset: number, limit: number): Promise<{ bytes: Buffer; sizeBytes: number }> {
  let file;
  try {
    file = await open(path, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return { bytes: Buffer.alloc(0), sizeBytes: 0 };
    throw error;
  }
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(limit), 0, limit, offset);
    return { bytes: buffer.subarray(0, bytesRead), sizeBytes: (await file.stat()).size };
  } finally {
    await file.close();
  }
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
