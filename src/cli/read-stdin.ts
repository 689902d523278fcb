import { isUtf8 } from "node:buffer";
import { ConfigError } from "../index.js";

const NEWLINE = 0x0a;

/**
 * All of stdin as text.
 * @throws ConfigError with the offset of the first byte that is not UTF-8
 */
export async function readStdin(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return decode(Buffer.concat(chunks), 0);
}

/** The lines of stdin, each as soon as it is there. */
export async function* readStdinLines(): AsyncGenerator<string, void> {
  let rest = Buffer.alloc(0);
  let offset = 0;
  for await (const chunk of process.stdin) {
    rest = Buffer.concat([rest, chunk as Buffer]);
    for (let end = rest.indexOf(NEWLINE); end !== -1; end = rest.indexOf(NEWLINE)) {
      yield decode(rest.subarray(0, end), offset).replace(/\r$/, "");
      offset += end + 1;
      rest = rest.subarray(end + 1);
    }
  }
  if (rest.length > 0) yield decode(rest, offset);
}

function decode(bytes: Buffer, startOffset: number): string {
  if (isUtf8(bytes)) return bytes.toString("utf8");
  const offset = startOffset + invalidOffset(bytes);
  throw new ConfigError(`Cannot read stdin: byte ${String(offset)} is not valid UTF-8, convert the text to UTF-8`, {
    details: { offset },
  });
}

/** Where the first invalid character begins. */
function invalidOffset(bytes: Buffer): number {
  let low = 0;
  let high = bytes.length;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (isValidBeginning(bytes.subarray(0, middle))) low = middle;
    else high = middle - 1;
  }
  while (!isUtf8(bytes.subarray(0, low))) low -= 1;
  return low;
}

/** A character that is cut at the end is no fault of the beginning. */
function isValidBeginning(bytes: Buffer): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: true });
    return true;
  } catch {
    return false;
  }
}
