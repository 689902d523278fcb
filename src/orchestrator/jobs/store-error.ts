import { KittyError } from "../../errors.js";

interface Kind {
  code: string;
  /** What was found and what to do. */
  text: (path: string) => string;
}

const BUSY: Kind = {
  code: "store_busy",
  text: () =>
    "another process holds its lock, such as a shell with an open transaction; end that, or try again, nothing was changed",
};
const FULL: Kind = {
  code: "disk_full",
  text: () => "the disk is full, or a quota or file size limit is reached; free some space, nothing was changed",
};
const CORRUPT: Kind = {
  code: "store_corrupt",
  text: (path) =>
    `the file is damaged; stop everything that uses it, then "sqlite3 ${path} .recover | sqlite3 ${path}.new" saves what can be read, or move ${path}, ${path}-wal and ${path}-shm away to begin anew (results stay in the jobs' folders)`,
};

/** What a SQLite failure means to whoever runs jobs; errors that are KittyErrors already stay as they are. */
export function storeError(attempt: string, path: string, error: { code?: string; message: string }): KittyError {
  if (error instanceof KittyError) return error;
  const kind = kindOf(error.code ?? "", error.message);
  const details = { path, sqliteCode: error.code, found: error.message };
  if (kind === undefined) {
    return new KittyError(
      `Cannot ${attempt} ${JSON.stringify(path)}: ${error.message}; check that this user may write there and that the disk works`,
      { code: "store_failed", details, cause: error },
    );
  }
  return new KittyError(`Cannot ${attempt} ${JSON.stringify(path)}: ${kind.text(path)}`, {
    code: kind.code,
    details,
    cause: error,
  });
}

function kindOf(code: string, message: string): Kind | undefined {
  if (code.startsWith("SQLITE_BUSY") || code === "SQLITE_LOCKED" || message.includes("database is locked")) return BUSY;
  // A file size limit (RLIMIT_FSIZE) shows as a failed write.
  if (code === "SQLITE_FULL" || code === "SQLITE_IOERR_WRITE") return FULL;
  if (code.startsWith("SQLITE_CORRUPT") || code === "SQLITE_NOTADB") return CORRUPT;
  return undefined;
}
