import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { open, rename, rm, type FileHandle } from "node:fs/promises";
import { dirname, join } from "node:path";
import { KittyError } from "../errors.js";

const CHUNK_BYTES = 2 ** 20;

/** A folder that this process and a worker both see, each under its own name, where they share no other. */
export interface FileExchange {
  host: string;
  inside: string;
}

/**
 * Has a worker write a file, and puts it where it is wanted, whole or not at all.
 * @param write gets the path that the worker is to write
 * @throws KittyError `exchange_refused` when what the worker left is no plain file: it might be a link to one of ours
 */
export async function takeFile(
  exchange: FileExchange | undefined,
  path: string,
  write: (path: string) => Promise<void>,
): Promise<void> {
  if (exchange === undefined) return write(path);
  const name = `out-${randomUUID()}`;
  const temporary = join(dirname(path), `.${name}`);
  try {
    await write(`${exchange.inside}/${name}`);
    await using source = await openPlain(join(exchange.host, name));
    await put(source, temporary, path);
  } finally {
    // Also a folder, should the worker have left one.
    await rm(join(exchange.host, name), { recursive: true, force: true });
    await rm(temporary, { force: true });
  }
}

/**
 * Shows a worker a copy of a file for as long as `read` takes.
 * @param read gets the path that the worker is to read
 */
export async function giveFile<T>(
  exchange: FileExchange | undefined,
  path: string,
  read: (path: string) => Promise<T>,
): Promise<T> {
  if (exchange === undefined) return read(path);
  const name = `in-${randomUUID()}`;
  const shown = join(exchange.host, name);
  try {
    await using source = await open(path, "r");
    await copy(source, shown);
    return await read(`${exchange.inside}/${name}`);
  } finally {
    await rm(shown, { force: true });
  }
}

/** The folder is the worker's to write: a link there could name any file of this user, and a pipe would never end. */
async function openPlain(path: string): Promise<FileHandle> {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  const refuse = (cause?: unknown): KittyError =>
    new KittyError(`Cannot take a file from the worker: it left no plain file at ${JSON.stringify(path)}`, {
      code: "exchange_refused",
      details: { path },
      cause,
    });
  const file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK).catch((error: unknown) => {
    throw refuse(error);
  });
  if ((await file.stat()).isFile()) return file;
  await file.close();
  throw refuse();
}

async function put(source: FileHandle, temporary: string, path: string): Promise<void> {
  try {
    await copy(source, temporary);
    await rename(temporary, path);
  } catch (error) {
    const found = (error as Error).message;
    throw new KittyError(`Cannot write ${JSON.stringify(path)}: ${found}; check the folder and its free space`, {
      code: "cache_file",
      details: { path },
      cause: error,
    });
  }
}

/** Into a new file: one that is there already, as a link too, is an error. */
async function copy(source: FileHandle, path: string): Promise<void> {
  await using target = await open(path, "wx", 0o600);
  const buffer = Buffer.alloc(CHUNK_BYTES);
  for (;;) {
    const { bytesRead } = await source.read(buffer, 0, CHUNK_BYTES);
    if (bytesRead === 0) break;
    await target.writeFile(buffer.subarray(0, bytesRead));
  }
  await target.sync();
}
