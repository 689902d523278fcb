import Libsql from "libsql";
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { KittyError } from "../../errors.js";
import { fileSystemOf, type FileSystem } from "../../util/file-system-kind.js";
import { SCHEMA, SCHEMA_VERSION } from "./database-schema.js";
import { storeError } from "./store-error.js";

const BUSY_TIMEOUT_MS = 3000;

export type Value = string | number | null;
export type Row = Readonly<Record<string, Value>>;

export interface DatabaseOptions {
  journal: "wal" | "delete";
  /** How long a write waits for another process's; everything here waits with it. @default 3 s */
  busyTimeoutMs?: number | undefined;
  /** @default the one that the path is on */
  fileSystem?: Pick<FileSystem, "kind" | "isNetwork"> | undefined;
}

/** The store's SQLite file. Everything written is on the disk when a call or a transaction returns. */
export class Database {
  readonly path: string;
  readonly #db: Libsql.Database;
  readonly #statements = new Map<string, Libsql.Statement>();

  /**
   * Opens the file, makes it where there is none, and checks that it is whole.
   * @throws KittyError `store_on_network_disk`, `store_corrupt`, `store_version`, `store_busy`, `disk_full`
   */
  constructor(path: string, { journal, busyTimeoutMs = BUSY_TIMEOUT_MS, fileSystem }: DatabaseOptions) {
    this.path = path;
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    checkFileSystem(path, journal, fileSystem ?? fileSystemOf(dirname(path)));
    this.#db = this.#guard("open the job store", () => new Libsql(path));
    try {
      this.#prepareFile(journal, busyTimeoutMs);
    } catch (error) {
      this.#db.close();
      throw error;
    }
  }

  run(sql: string, ...values: Value[]): { changes: number; lastInsertRowid: number } {
    // A statement that fails for another process's lock would keep its view of the file, and every write after it fail for
    // that; the beginning of a transaction keeps nothing.
    if (!this.#db.inTransaction) return this.transaction(() => this.run(sql, ...values));
    return this.#guard("write to the job store", () => {
      const { changes, lastInsertRowid } = this.#statement(sql).run(...values);
      return { changes, lastInsertRowid: Number(lastInsertRowid) };
    });
  }

  /** Of tables that this connection alone has, in memory: takes no lock of the file, and is gone with the connection. */
  runTemporary(sql: string, ...values: Value[]): void {
    this.#guard("note where jobs are", () => this.#statement(sql).run(...values));
  }

  get(sql: string, ...values: Value[]): Row | undefined {
    return this.#guard("read the job store", () => this.#statement(sql).get(...values) as Row | undefined);
  }

  all(sql: string, ...values: Value[]): Row[] {
    return this.#guard("read the job store", () => this.#statement(sql).all(...values) as Row[]);
  }

  /** All that `work` writes, or nothing when it throws; one inside another is part of that one. */
  transaction<T>(work: () => T): T {
    if (this.#db.inTransaction) return work();
    this.#guard("write to the job store", () => this.#db.exec("BEGIN IMMEDIATE"));
    try {
      const result = work();
      this.#guard("write to the job store", () => this.#db.exec("COMMIT"));
      return result;
    } catch (error) {
      this.#rollBack();
      throw error;
    }
  }

  /** Changes whenever another process wrote; this one's writes do not count. */
  get foreignVersion(): number {
    return Number(this.get("PRAGMA data_version")?.["data_version"]);
  }

  close(): void {
    // libsql gives a file back only when its statements were collected, and would leave the journal until then.
    this.#statements.clear();
    try {
      if (this.#db.open) this.#guard("close the job store", () => this.#db.exec("PRAGMA wal_checkpoint(TRUNCATE)"));
    } catch (error) {
      // Somebody else is in the middle of something; whoever opens the store next reads the journal.
      if (!(error instanceof KittyError && error.code === "store_busy")) throw error;
    } finally {
      this.#db.close();
    }
  }

  #prepareFile(journal: "wal" | "delete", busyTimeoutMs: number): void {
    this.#guard("open the job store", () => {
      this.#db.exec(`PRAGMA busy_timeout = ${String(busyTimeoutMs)}`);
      this.#db.exec(`PRAGMA journal_mode = ${journal.toUpperCase()}`);
      this.#db.exec("PRAGMA synchronous = FULL");
      this.#db.exec("PRAGMA temp_store = MEMORY");
    });
    const [found] = this.all("PRAGMA quick_check(1)");
    const verdict = String(found?.["quick_check"] ?? Object.values(found ?? {})[0]);
    if (verdict !== "ok")
      throw storeError("open the job store", this.path, { code: "SQLITE_CORRUPT", message: verdict });
    this.transaction(() => {
      this.#checkVersion();
    });
  }

  #rollBack(): void {
    // SQLite has rolled back by itself when the disk is full.
    if (this.#db.inTransaction) this.#db.exec("ROLLBACK");
  }

  #checkVersion(): void {
    const version = Number(this.get("PRAGMA user_version")?.["user_version"]);
    if (version === SCHEMA_VERSION) return;
    if (version !== 0) {
      throw new KittyError(
        `Cannot open the job store ${JSON.stringify(this.path)}: it has version ${String(version)}, this program reads version ${String(SCHEMA_VERSION)}; use the kitty-kv that wrote it, or set jobs.folder to another folder`,
        { code: "store_version", details: { path: this.path, version, supported: SCHEMA_VERSION } },
      );
    }
    this.#guard("make the job store", () => {
      this.#db.exec(SCHEMA);
      this.#db.exec(`PRAGMA user_version = ${String(SCHEMA_VERSION)}`);
    });
  }

  #statement(sql: string): Libsql.Statement {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    const statement = this.#db.prepare(sql);
    this.#statements.set(sql, statement);
    return statement;
  }

  #guard<T>(attempt: string, work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw storeError(attempt, this.path, error as Error & { code?: string });
    }
  }
}

/** WAL needs memory that all its users share, which no network file system has; it corrupts the file there. */
function checkFileSystem(path: string, journal: string, { kind, isNetwork }: Pick<FileSystem, "kind" | "isNetwork">) {
  if (!isNetwork || journal === "delete") return;
  throw new KittyError(
    `Cannot open the job store ${JSON.stringify(path)}: it is on a network file system (${kind}), where it would be corrupted; set jobs.folder to a folder on a disk of this machine, or jobs.journal to "delete" if no other machine uses it`,
    { code: "store_on_network_disk", details: { path, fileSystem: kind } },
  );
}
