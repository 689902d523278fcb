/** Grows by one with every change of SCHEMA; a store of another version is refused. */
export const SCHEMA_VERSION = 1;

export const SCHEMA = `
CREATE TABLE jobs (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL,
  name TEXT,
  state TEXT NOT NULL,
  spec TEXT NOT NULL,
  spec_hash TEXT NOT NULL,
  priority INTEGER NOT NULL,
  gpus INTEGER NOT NULL,
  parent TEXT,
  idempotency_key TEXT UNIQUE,
  attempt INTEGER NOT NULL DEFAULT 0,
  failed_attempts INTEGER NOT NULL DEFAULT 0,
  lost_attempts INTEGER NOT NULL DEFAULT 0,
  not_before INTEGER NOT NULL DEFAULT 0,
  cancel_requested INTEGER NOT NULL DEFAULT 0,
  lease_owner TEXT,
  lease_expires INTEGER,
  progress TEXT,
  error TEXT,
  result TEXT,
  created_at INTEGER NOT NULL,
  started_at INTEGER,
  finished_at INTEGER
) STRICT;
CREATE INDEX jobs_queue ON jobs (state, priority DESC, seq);
CREATE INDEX jobs_by_state ON jobs (state, seq);
CREATE INDEX jobs_by_parent ON jobs (parent, seq);

CREATE TABLE dependencies (
  job TEXT NOT NULL,
  depends_on TEXT NOT NULL,
  PRIMARY KEY (job, depends_on)
) STRICT, WITHOUT ROWID;
CREATE INDEX dependencies_by_target ON dependencies (depends_on);

CREATE TABLE events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  time INTEGER NOT NULL,
  topic TEXT NOT NULL,
  type TEXT NOT NULL,
  id TEXT,
  data TEXT NOT NULL
) STRICT;
`;
