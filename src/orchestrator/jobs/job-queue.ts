import { isTerminal, type JobAction } from "../../job/job-state.js";
import type { Job, JobError, JobProgress, JobResult } from "../../job/job.js";
import { MAX_BACKOFF_MS, MAX_LOST_ATTEMPTS } from "../../job/retry.js";
import type { Database, Value } from "./database.js";
import type { JobStore } from "./job-store.js";

// However far the clock jumps ahead, so many of the latest jobs stay.
const KEPT_JOBS = 1000;

/** One try of a job; what it reports counts only while the store still gives the job to this try. */
export interface Attempt {
  id: string;
  number: number;
}

export interface Capacity {
  hasSlot: boolean;
  freeGpus: number;
}

/** Jobs that are where others can wait for them; it is as old as its process. */
const PLACED = "CREATE TEMP TABLE IF NOT EXISTS placed (job TEXT PRIMARY KEY) STRICT, WITHOUT ROWID";
const isPlaced = (job: string): string => `EXISTS (SELECT 1 FROM temp.placed WHERE placed.job = ${job})`;

/** Of a sweep that runs, each job that has not succeeded is placed. */
const HAS_PLACED_JOBS = `needed.kind = 'sweep' AND needed.state = 'running'
  AND EXISTS (SELECT 1 FROM jobs AS child WHERE child.parent = needed.id AND ${isPlaced("child.id")})
  AND NOT EXISTS (SELECT 1 FROM jobs AS child WHERE child.parent = needed.id AND child.state <> 'succeeded'
                  AND NOT ${isPlaced("child.id")})`;

const IS_DUE = `state = 'queued' AND (not_before <= ?1 OR not_before > ?1 + ${String(MAX_BACKOFF_MS)})
  AND NOT EXISTS (SELECT 1 FROM dependencies JOIN jobs AS needed ON needed.id = depends_on
                  WHERE dependencies.job = jobs.id AND needed.state <> 'succeeded'
                    AND NOT ${isPlaced("needed.id")} AND NOT (${HAS_PLACED_JOBS}))`;

const OPEN_DEPENDENCIES = `WITH needed AS (SELECT jobs.id, kind FROM dependencies JOIN jobs ON jobs.id = depends_on
                                            WHERE job = ? AND state <> 'succeeded')
  SELECT id FROM needed WHERE kind <> 'sweep'
  UNION SELECT child.id FROM needed JOIN jobs AS child ON child.parent = needed.id WHERE child.state <> 'succeeded'`;

/** What the one orchestrator of a folder does with its jobs. */
export class JobQueue {
  readonly #store: JobStore;
  readonly #owner: string;
  readonly #leaseMs: number;

  constructor(store: JobStore, owner: string, leaseMs: number) {
    this.#store = store;
    this.#owner = owner;
    this.#leaseMs = leaseMs;
    this.#database.runTemporary(PLACED);
  }

  get #database(): Database {
    return this.#store.database;
  }

  /** Takes the next job that may start: higher priority first, then the older one; sweeps need no slot. */
  claim({ hasSlot, freeGpus }: Capacity): Job | undefined {
    const now = this.#store.now();
    // A job that waits for several GPUs must not be overtaken for ever by jobs that need fewer.
    const head = this.#database.get(
      `SELECT gpus FROM jobs WHERE gpus > 0 AND ${IS_DUE} ORDER BY priority DESC, seq LIMIT 1`,
      now,
    );
    const gpus = Number(head?.["gpus"] ?? 0) > freeGpus ? 0 : freeGpus;
    const fits = hasSlot ? "(kind = 'sweep' OR gpus <= ?2)" : "(kind = 'sweep' AND ?2 >= 0)";
    return this.#database.transaction(() => {
      const sql = `SELECT id, attempt, started_at FROM jobs WHERE ${fits} AND ${IS_DUE} ORDER BY priority DESC, seq LIMIT 1`;
      const row = this.#database.get(sql, now, gpus);
      if (row === undefined) return undefined;
      const id = String(row["id"]);
      this.#store.change(id, "claim", {
        attempt: Number(row["attempt"]) + 1,
        lease_owner: this.#owner,
        lease_expires: now + this.#leaseMs,
        started_at: row["started_at"] ?? now,
        progress: null,
      });
      return this.#store.get(id);
    });
  }

  /** @returns false when the attempt is not the job's current one any more */
  begin(attempt: Attempt): boolean {
    return this.#record(attempt, "begin", {});
  }

  succeed(attempt: Attempt, result: JobResult): boolean {
    const columns = { result: JSON.stringify(result), error: null, ...this.#ended() };
    return this.#record(attempt, "succeed", columns);
  }

  /** Ends the job for good. */
  end(attempt: Attempt, action: "fail" | "cancel" | "time_out", error: JobError): boolean {
    return this.#record(attempt, action, { error: JSON.stringify(error), ...this.#ended() });
  }

  /** Puts the job back for another try. */
  requeue(attempt: Attempt, delayMs: number, error: JobError | null): boolean {
    const job = this.#database.get("SELECT failed_attempts FROM jobs WHERE id = ?", attempt.id);
    const failed = Number(job?.["failed_attempts"] ?? 0) + (error === null ? 0 : 1);
    return this.#record(attempt, "requeue", {
      failed_attempts: failed,
      not_before: this.#store.now() + delayMs,
      lease_owner: null,
      lease_expires: null,
      ...(error === null ? {} : { error: JSON.stringify(error) }),
    });
  }

  /** Whether others can wait for a job where it is; until it has succeeded, they begin only if they can. */
  setPlaced(id: string, isPlaced: boolean): void {
    const sql = isPlaced ? "INSERT OR IGNORE INTO temp.placed VALUES (?)" : "DELETE FROM temp.placed WHERE job = ?";
    this.#database.runTemporary(sql, id);
  }

  /** The jobs that a job depends on and that have not succeeded; of a sweep, its jobs. */
  openDependencies(id: string): string[] {
    return this.#database.all(OPEN_DEPENDENCIES, id).map((row) => String(row["id"]));
  }

  /** Puts a job back that cannot go on before its dependencies do; it fails when they have failed. */
  postpone(attempt: Attempt): boolean {
    return this.#database.transaction(() => {
      const isPostponed = this.requeue(attempt, 0, null);
      if (isPostponed) this.#store.checkDependencies(attempt.id);
      return isPostponed;
    });
  }

  /** How many attempts of the job failed before this one. */
  failedAttempts(id: string): number {
    return Number(this.#database.get("SELECT failed_attempts FROM jobs WHERE id = ?", id)?.["failed_attempts"] ?? 0);
  }

  setProgress({ id, number }: Attempt, progress: JobProgress): void {
    this.#database.transaction(() => {
      const sql = "UPDATE jobs SET progress = ? WHERE id = ? AND attempt = ? AND lease_owner = ?";
      const { changes } = this.#database.run(sql, JSON.stringify(progress), id, number, this.#owner);
      if (changes > 0) this.#store.events.append({ topic: "job", type: "job.progress", id, data: { ...progress } });
    });
  }

  /** Heartbeat: says for all running attempts that they live. */
  renewLeases(): void {
    const expires = this.#store.now() + this.#leaseMs;
    this.#database.run(
      "UPDATE jobs SET lease_expires = ? WHERE lease_owner = ? AND state IN ('starting', 'running')",
      expires,
      this.#owner,
    );
  }

  /** Ids of running jobs whose end was asked for, by whatever process. */
  cancelRequests(): string[] {
    const sql = "SELECT id FROM jobs WHERE state IN ('starting', 'running') AND cancel_requested = 1";
    return this.#database.all(sql).map(({ id }) => String(id));
  }

  /** Puts back what an orchestrator that is gone was running. Only whoever holds the folder's lock may call it. */
  recover(): string[] {
    const sql =
      "SELECT id, lost_attempts, cancel_requested FROM jobs WHERE state IN ('starting', 'running') ORDER BY seq";
    return this.#database.transaction(() =>
      this.#database.all(sql).map((row) => {
        this.#recoverOne(String(row["id"]), Number(row["lost_attempts"]) + 1, row["cancel_requested"] === 1);
        return String(row["id"]);
      }),
    );
  }

  /** Jobs that ended before `time` and that nothing needs any more. */
  expired(time: number): string[] {
    const sql = `SELECT id, state FROM jobs WHERE finished_at < ? AND state NOT IN ('queued', 'starting', 'running')
      AND seq <= (SELECT max(seq) FROM jobs) - ?
      AND NOT EXISTS (SELECT 1 FROM dependencies JOIN jobs AS waiting ON waiting.id = job
                      WHERE depends_on = jobs.id AND waiting.state IN ('queued', 'starting'))
      LIMIT 1000`;
    return this.#database.all(sql, time, KEPT_JOBS).map(({ id }) => String(id));
  }

  remove(id: string): void {
    this.#database.transaction(() => {
      this.#database.run("DELETE FROM dependencies WHERE job = ?1 OR depends_on = ?1", id);
      this.#database.run("DELETE FROM jobs WHERE id = ?", id);
      this.#store.events.append({ topic: "job", type: "job.removed", id, data: {} });
    });
  }

  #recoverOne(id: string, lostAttempts: number, isCancelRequested: boolean): void {
    const lost = { lost_attempts: lostAttempts, lease_owner: null, lease_expires: null };
    if (isCancelRequested) this.#store.change(id, "cancel", { ...lost, finished_at: this.#store.now() });
    else if (lostAttempts <= MAX_LOST_ATTEMPTS) this.#store.change(id, "requeue", { ...lost, not_before: 0 });
    else {
      const error: JobError = {
        code: "lost_too_often",
        message: `Cannot finish job ${id}: the orchestrator died ${String(lostAttempts)} times while it ran; if the job is not the reason, retry it`,
        details: { lostAttempts },
      };
      this.#store.change(id, "fail", { ...lost, error: JSON.stringify(error), finished_at: this.#store.now() });
    }
  }

  /** At-least-once execution, exactly one record: an attempt that lost its lease changes nothing. */
  #record({ id, number }: Attempt, action: JobAction, columns: Readonly<Record<string, Value>>): boolean {
    return this.#database.transaction(() => {
      const sql = "SELECT state FROM jobs WHERE id = ? AND attempt = ? AND lease_owner = ?";
      const row = this.#database.get(sql, id, number, this.#owner);
      if (row === undefined || isTerminal(this.#store.get(id).state)) return false;
      this.#store.change(id, action, columns);
      return true;
    });
  }

  #ended(): Readonly<Record<string, Value>> {
    return { finished_at: this.#store.now(), lease_owner: null, lease_expires: null };
  }
}
