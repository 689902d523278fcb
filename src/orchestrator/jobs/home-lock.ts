import Libsql from "libsql";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { KittyError } from "../../errors.js";
import { storeError } from "./store-error.js";

/**
 * The right to run the jobs of a folder. It is a lock of the kernel, taken through SQLite on a file of its own, so it ends
 * with its process, however that ends.
 */
export class HomeLock implements Disposable {
  readonly #db: Libsql.Database;

  /** @throws KittyError `orchestrator_running` while another process, or another Kitty of this one, has it */
  constructor(folder: string) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const path = join(folder, "orchestrator.lock");
    const holderFile = join(folder, "orchestrator.json");
    this.#db = new Libsql(path);
    try {
      this.#db.exec("BEGIN EXCLUSIVE");
    } catch (cause) {
      this.#db.close();
      const error = storeError("lock", path, cause as Error);
      throw error.code === "store_busy" ? inUse(folder, holderFile, cause) : error;
    }
    writeFileSync(holderFile, JSON.stringify({ pid: process.pid, host: hostname() }));
  }

  [Symbol.dispose](): void {
    this.#db.close();
  }
}

function inUse(folder: string, holderFile: string, cause: unknown): KittyError {
  const holder = readHolder(holderFile);
  const who = holder === undefined ? "another orchestrator" : `an orchestrator (process ${holder})`;
  return new KittyError(
    `Cannot run jobs in ${JSON.stringify(folder)}: ${who} does so already; use that one ("kitty-kv job …" does), stop it, or set KITTY_KV_HOME to another folder`,
    { code: "orchestrator_running", details: { folder, holder: holder ?? null }, cause },
  );
}

/** Only for the message: the lock is the truth. */
function readHolder(path: string): string | undefined {
  try {
    const { pid, host } = JSON.parse(readFileSync(path, "utf8")) as { pid: number; host: string };
    return `${String(pid)} on ${host}`;
  } catch {
    return undefined;
  }
}
