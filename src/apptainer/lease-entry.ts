import { randomUUID } from "node:crypto";
import { chmod, mkdir, open, readFile, readdir, realpath, rename, rm, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { z } from "zod";
import { KittyError } from "../errors.js";
import { isRunning, ownIdentity, processIdentitySchema, type ProcessIdentity } from "./process-identity.js";

// Of the file server's clock, which wrote both times that are compared.
const SILENCE_MS = 300_000;
const FORGOTTEN_MS = 60_000;

const entrySchema = z.object({
  kind: z.enum(["writer", "reader"]),
  purpose: z.string(),
  since: z.string(),
  ...processIdentitySchema.shape,
});

export type LeaseKind = "writer" | "reader";
/** Who holds a lease, why and since when. */
export type LeaseHolder = z.output<typeof entrySchema>;

export interface LeaseEntry {
  path: string;
  holder: LeaseHolder;
}

/** The folder that holds one file a holder of an overlay; the same one by whichever link the overlay is named. */
async function leaseFolder(overlay: string): Promise<string> {
  return `${await realpath(overlay).catch(whenMissing(overlay))}.lease`;
}

/**
 * Makes an entry known to all others, whole or not at all.
 * @param identity the process whose life is the lease's
 */
export async function publishEntry(
  overlay: string,
  kind: LeaseKind,
  purpose: string,
  identity: ProcessIdentity = ownIdentity(),
): Promise<LeaseEntry> {
  const holder = { kind, purpose, since: new Date().toISOString(), ...identity };
  const folder = await leaseFolder(overlay);
  const name = `${kind}-${randomUUID()}.json`;
  const path = join(folder, name);
  const temporary = join(folder, `.new-${name}`);
  try {
    const made = await mkdir(folder, { recursive: true });
    // Whoever may read the overlay has to say that he does; the sticky bit keeps others' entries his own.
    if (made !== undefined) await chmod(folder, 0o1777);
    const file = await open(temporary, "wx", 0o644);
    try {
      await file.writeFile(JSON.stringify(holder));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    throw explain(error, folder, purpose);
  }
  return { path, holder };
}

function explain(error: unknown, folder: string, purpose: string): unknown {
  if (!["EACCES", "EPERM", "EROFS"].includes((error as NodeJS.ErrnoException).code ?? "")) return error;
  return new KittyError(
    `Cannot ${purpose}: this user may not write ${JSON.stringify(folder)}, where everybody who uses the overlay leaves a note; its owner allows it with "chmod 1777", or copy the overlay and its manifest`,
    { code: "lease_not_writable", details: { folder }, cause: error },
  );
}

/** Shows other machines that the holder lives. @returns false when somebody has removed the entry */
export async function touchEntry({ path, holder }: LeaseEntry): Promise<boolean> {
  try {
    // Written, not utimes(): the time has to be the file server's own.
    const file = await open(path, "r+");
    try {
      await file.write(JSON.stringify(holder), 0);
      await file.sync();
    } finally {
      await file.close();
    }
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}

/**
 * All entries of living holders. Those of dead ones are left out, and removed when `own` is given:
 * every entry has a name of its own, so removing one can never hit a living holder.
 * @param own the caller's entry, just published; its file time is the file server's present
 */
export async function listEntries(overlay: string, own?: LeaseEntry): Promise<LeaseEntry[]> {
  const folder = await leaseFolder(overlay);
  const names = await readdir(folder).catch(whenMissing<string[]>([]));
  const nowMs = own === undefined ? Date.now() : (await stat(own.path)).mtimeMs;
  const found = await Promise.all(names.map((name) => readEntry(join(folder, name), nowMs, own !== undefined)));
  return found.filter((entry) => entry !== undefined);
}

async function readEntry(path: string, nowMs: number, removesDead: boolean): Promise<LeaseEntry | undefined> {
  const ageMs = await stat(path).then(({ mtimeMs }) => nowMs - mtimeMs, whenMissing(0));
  if (basename(path).startsWith(".new-")) {
    // Its writer died between making it and giving it its name.
    if (removesDead && ageMs > FORGOTTEN_MS) await rm(path, { force: true }).catch(whenNotOurs);
    return undefined;
  }
  const text = await readFile(path, "utf8").catch(whenMissing(undefined));
  if (text === undefined) return undefined;
  const holder = parseHolder(path, text);
  if (isRunning(holder) ?? ageMs < SILENCE_MS) return { path, holder };
  if (removesDead) await rm(path, { force: true }).catch(whenNotOurs);
  return undefined;
}

/** Another user's dead entry stays for him or the overlay's owner to remove; it counts no more. */
function whenNotOurs(error: unknown): void {
  const { code } = error as NodeJS.ErrnoException;
  if (code !== "EPERM" && code !== "EACCES") throw error;
}

function parseHolder(path: string, text: string): LeaseHolder {
  try {
    return entrySchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new KittyError(
      `Cannot read who holds the overlay: ${JSON.stringify(path)} is no lease of ours; see what wrote it, and remove it when nothing uses the overlay`,
      { code: "lease_unreadable", details: { path }, cause },
    );
  }
}

/** What to take for a file that was removed meanwhile. */
function whenMissing<T>(value: T): (error: unknown) => T {
  return (error) => {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    return value;
  };
}
