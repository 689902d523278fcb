import { randomUUID } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";

/** Writes a file so that whoever reads it, also after a crash, finds the old or the new content, never a part. */
export async function writeAtomically(path: string, text: string): Promise<void> {
  const temporary = `${path}.new-${randomUUID()}`;
  try {
    const file = await open(temporary, "wx", 0o644);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
