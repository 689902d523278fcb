import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { CancelledError } from "../errors.js";

/**
 * SHA-256 of a file's bytes, holes included, as hexadecimal digits.
 * @throws CancelledError when the signal fires
 */
export async function hashFile(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash("sha256");
  const stream = createReadStream(path, { highWaterMark: 2 ** 20 });
  try {
    await pipeline(stream, hash, signal === undefined ? {} : { signal });
  } catch (cause) {
    if (signal?.aborted !== true) throw cause;
    throw new CancelledError(`Cannot hash ${JSON.stringify(path)}: it was interrupted`, { cause });
  }
  return hash.digest("hex");
}
