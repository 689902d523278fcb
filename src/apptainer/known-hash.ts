import { createHash } from "node:crypto";
import { mkdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { stateFolder } from "../util/state-folder.js";
import { hashFile } from "./hash-file.js";
import { writeAtomically } from "./write-atomically.js";

// A write in the same tick of the file system's clock as the one before would leave the times as they were.
const SETTLED_MS = 2000;

const noteSchema = z.object({ facts: z.string(), sha256: z.string() });

/**
 * The SHA-256 of a file that is hashed again only when it changed: each write, whoever makes it, changes a file's
 * inode, size, modification or change time, and the last cannot be set back.
 * @throws CancelledError
 */
export async function knownHash(path: string, signal?: AbortSignal): Promise<string> {
  const note = join(stateFolder(), "hashes", `${createHash("sha256").update(path).digest("hex")}.json`);
  const facts = await describe(path);
  const known = await readNote(note);
  if (known?.facts === facts.text) return known.sha256;
  const sha256 = await hashFile(path, signal);
  const isSettled = Date.now() - facts.changedMs > SETTLED_MS && (await describe(path)).text === facts.text;
  if (isSettled) {
    await mkdir(join(stateFolder(), "hashes"), { recursive: true, mode: 0o700 });
    await writeAtomically(note, JSON.stringify({ path, facts: facts.text, sha256 }));
  }
  return sha256;
}

async function describe(path: string): Promise<{ text: string; changedMs: number }> {
  const { dev, ino, size, mtimeNs, ctimeNs, ctimeMs } = await stat(path, { bigint: true });
  return { text: [dev, ino, size, mtimeNs, ctimeNs].join(" "), changedMs: Number(ctimeMs) };
}

/** @returns undefined for none, or one that cannot be read: the file is hashed then */
async function readNote(path: string): Promise<z.output<typeof noteSchema> | undefined> {
  try {
    return noteSchema.parse(JSON.parse(await readFile(path, "utf8")));
  } catch {
    return undefined;
  }
}
