import { stat } from "node:fs/promises";
import { NotFoundError } from "../errors.js";
import { hashFile } from "./hash-file.js";

export interface ImageIdentity {
  sha256: string;
  sizeBytes: number;
}

/**
 * What an image is, whatever it is called.
 * @param hash how the file's hash is found out
 * @throws NotFoundError `image_not_found`; CancelledError
 */
export async function imageIdentity(
  image: string,
  signal?: AbortSignal,
  hash: typeof hashFile = hashFile,
): Promise<ImageIdentity> {
  const file = await stat(image).catch((cause: unknown) => {
    if ((cause as NodeJS.ErrnoException).code !== "ENOENT") throw cause;
    throw new NotFoundError(
      `Cannot use image ${JSON.stringify(image)}: there is no such file, build it with "kitty-kv image build"`,
      { code: "image_not_found", details: { image }, cause },
    );
  });
  return { sha256: await hash(image, signal), sizeBytes: file.size };
}
