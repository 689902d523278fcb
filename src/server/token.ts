import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { link, mkdir, open, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { ConfigError } from "../errors.js";
import { stateFolder } from "../util/state-folder.js";

export const TOKEN_VARIABLE = "KITTY_KV_TOKEN";
const SHORTEST = 16;

export interface Token {
  value: string;
  /** Whether a person chose it; one from the file was made by us. */
  isExplicit: boolean;
}

/**
 * The token that clients must show: KITTY_KV_TOKEN, else that in `KITTY_KV_HOME/token`, which is made on the first start
 * and only its owner may read.
 * @throws ConfigError when it is too short, or others may read the file
 */
export async function readToken(): Promise<Token> {
  const { [TOKEN_VARIABLE]: explicit } = process.env;
  if (explicit !== undefined && explicit !== "") return { value: checked(explicit, TOKEN_VARIABLE), isExplicit: true };
  const path = join(stateFolder(), "token");
  const value = await readTokenFile(path);
  return { value: checked(value ?? (await createTokenFile(path)), path), isExplicit: false };
}

/** Compares without telling by the time it takes how much of a guess was right. */
export function isSameToken(given: string, wanted: string): boolean {
  return timingSafeEqual(digest(given), digest(wanted));
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

async function readTokenFile(path: string): Promise<string | undefined> {
  try {
    const { mode } = await stat(path);
    if ((mode & 0o077) !== 0) {
      throw new ConfigError(
        `Cannot use the token in ${path}: its mode is ${(mode & 0o777).toString(8)}, so others may read it; delete it and start again for a new one`,
      );
    }
    return (await readFile(path, "utf8")).trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Of two that start at once, the first to link its file decides for both. */
async function createTokenFile(path: string): Promise<string | undefined> {
  await mkdir(stateFolder(), { recursive: true, mode: 0o700 });
  const draft = `${path}.${String(process.pid)}`;
  const file = await open(draft, "w", 0o600);
  try {
    await file.writeFile(`${randomBytes(32).toString("base64url")}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  try {
    await link(draft, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    await rm(draft, { force: true });
  }
  return readTokenFile(path);
}

function checked(token: string | undefined, where: string): string {
  if (token !== undefined && /^[\x21-\x7e]+$/.test(token) && token.length >= SHORTEST) return token;
  throw new ConfigError(
    `Cannot use the token in ${where}: it must have at least ${String(SHORTEST)} printable characters and no space; delete it or choose another`,
  );
}
