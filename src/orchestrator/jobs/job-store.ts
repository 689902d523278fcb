import { randomBytes } from "node:crypto";
import { ConfigError, KittyError, NotFoundError } from "../../errors.js";
import type { JobSpec } from "../../job/job-spec.js";
import { isTerminal, nextState, type JobAction, type JobState } from "../../job/job-state.js";
import type { Job, JobError, JobSummary } from "../../job/job.js";
import type { Database, Row, Value } from "./database.js";
import type { EventTable } from "./event-table.js";
import { hashSpec, SUMMARY_COLUMNS, toJob, toSummary } from "./job-row.js";

export interface NewJob {
  spec: JobSpec;
  idempotencyKey?: string | undefined;
  parent?: string | undefined;
}

export interface ListFilter {
  state?: JobState | undefined;
  parent?: string | undefined;
  /** Only jobs submitted before the one with this number. */
  before: number;
  limit: number;
}

/** Jobs on disk. Each change of state and its event are one transaction. */
export class JobStore {
  readonly database: Database;
  readonly events: EventTable;
  readonly now: () => number;

  constructor(database: Database, events: EventTable, now: () => number) {
    this.database = database;
    this.events = events;
    this.now = now;
  }

  /**
   * Stores all of these or none.
   * @throws ConfigError for a dependency that does not exist, KittyError `idempotency_conflict`
   */
  insert(jobs: readonly NewJob[]): Job[] {
    return this.database.transaction(() => jobs.map((job) => this.#insertOne(job)));
  }

  get(id: string): Job {
    const row = this.database.get("SELECT * FROM jobs WHERE id = ?", id);
    if (row === undefined) throw jobNotFound(id);
    return toJob(row);
  }

  /** Newest first; with each the number that `before` takes. */
  list({ state, parent, before, limit }: ListFilter): { job: JobSummary; seq: number }[] {
    const where = [
      "seq < ?",
      ...(state === undefined ? [] : ["state = ?"]),
      ...(parent === undefined ? [] : ["parent = ?"]),
    ];
    const values = [before, state, parent].filter((value) => value !== undefined);
    const sql = `SELECT ${SUMMARY_COLUMNS} FROM jobs WHERE ${where.join(" AND ")} ORDER BY seq DESC LIMIT ?`;
    return this.database.all(sql, ...values, limit).map((row) => ({ job: toSummary(row), seq: Number(row["seq"]) }));
  }

  /** Ends what waits, asks what runs, and the same for a sweep's children. */
  cancel(id: string): Job {
    return this.database.transaction(() => {
      const { state, isCancelRequested } = this.get(id);
      if (state === "queued") this.change(id, "cancel", { finished_at: this.now() });
      else if (!isTerminal(state) && !isCancelRequested) {
        this.database.run("UPDATE jobs SET cancel_requested = 1 WHERE id = ?", id);
        this.events.append({ topic: "job", type: "job.cancel_requested", id, data: {} });
      }
      for (const { id: child } of this.#children(id)) this.cancel(String(child));
      return this.get(id);
    });
  }

  /** @throws KittyError `job_state_conflict` for a job that has not ended, or that succeeded */
  retry(id: string): Job {
    return this.database.transaction(() => {
      this.change(id, "retry", {
        failed_attempts: 0,
        lost_attempts: 0,
        not_before: 0,
        cancel_requested: 0,
        error: null,
        started_at: null,
        finished_at: null,
      });
      for (const { id: child, state } of this.#children(id)) {
        if (nextState(state as JobState, "retry") !== undefined) this.retry(String(child));
      }
      return this.get(id);
    });
  }

  /**
   * Makes one step of the state machine, with its event, and fails those who wait for a job that ended without success.
   * @param columns what else changes with it
   * @throws KittyError `job_state_conflict` where the state does not allow the action
   */
  change(id: string, action: JobAction, columns: Readonly<Record<string, Value>> = {}): JobState {
    const { state: previous, attempt } = this.get(id);
    const state = nextState(previous, action);
    if (state === undefined) throw stateConflict(id, previous, action);
    const changes = { ...columns, state };
    const sets = Object.keys(changes).map((column) => `${column} = ?`);
    this.database.run(`UPDATE jobs SET ${sets.join(", ")} WHERE id = ?`, ...Object.values(changes), id);
    const error = typeof columns["error"] === "string" ? { error: JSON.parse(columns["error"]) as JobError } : {};
    const number = Number(columns["attempt"] ?? attempt);
    this.events.append({ topic: "job", type: "job.state", id, data: { state, previous, attempt: number, ...error } });
    if (isTerminal(state) && state !== "succeeded") this.#failDependents(id, state);
    return state;
  }

  /** Fails a job that waits when one that it depends on has ended without success. */
  checkDependencies(id: string): void {
    const sql = "SELECT jobs.id, state FROM dependencies JOIN jobs ON jobs.id = depends_on WHERE job = ?";
    for (const row of this.database.all(sql, id)) {
      const state = row["state"] as JobState;
      if (isTerminal(state) && state !== "succeeded") this.#failDependents(String(row["id"]), state);
    }
  }

  #insertOne({ spec, idempotencyKey, parent }: NewJob): Job {
    const hash = hashSpec(spec);
    const known = idempotencyKey === undefined ? undefined : this.#byKey(idempotencyKey);
    if (known !== undefined) {
      if (known["spec_hash"] === hash) return toJob(known);
      throw idempotencyConflict(String(known["idempotency_key"]), String(known["id"]));
    }
    const id = `j${randomBytes(8).toString("hex")}`;
    this.database.run(
      "INSERT INTO jobs (id, kind, name, state, spec, spec_hash, priority, gpus, parent, idempotency_key, created_at) VALUES (?, ?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?)",
      ...[id, spec.kind, spec.name ?? null, JSON.stringify(spec), hash, spec.priority, spec.resources.gpus ?? 0],
      ...[parent ?? null, idempotencyKey ?? null, this.now()],
    );
    const data = {
      state: "queued",
      previous: null,
      attempt: 0,
      kind: spec.kind,
      priority: spec.priority,
      name: spec.name ?? null,
      parent: parent ?? null,
    };
    this.events.append({ topic: "job", type: "job.state", id, data });
    for (const dependency of new Set(spec.dependsOn)) this.#dependOn(id, dependency);
    return this.get(id);
  }

  #dependOn(id: string, dependency: string): void {
    const state = this.database.get("SELECT state FROM jobs WHERE id = ?", dependency)?.["state"] as
      JobState | undefined;
    if (state === undefined) {
      throw new ConfigError(
        `Cannot submit this job: dependsOn names ${JSON.stringify(dependency)}, which does not exist`,
        {
          code: "dependency_not_found",
          details: { dependency, path: "dependsOn" },
        },
      );
    }
    this.database.run("INSERT INTO dependencies (job, depends_on) VALUES (?, ?)", id, dependency);
    if (isTerminal(state) && state !== "succeeded") this.#failDependents(dependency, state);
  }

  #failDependents(id: string, state: JobState): void {
    const sql = "SELECT jobs.id FROM dependencies JOIN jobs ON jobs.id = job WHERE depends_on = ? AND state = 'queued'";
    const error: JobError = {
      code: "dependency_failed",
      message: `Cannot start this job: job ${id}, which it depends on, is ${state}; retry that one, then this one`,
      details: { dependency: id, state },
    };
    for (const { id: dependent } of this.database.all(sql, id)) {
      this.change(String(dependent), "fail", { error: JSON.stringify(error), finished_at: this.now() });
    }
  }

  #children(id: string): Row[] {
    return this.database.all("SELECT id, state FROM jobs WHERE parent = ? ORDER BY seq", id);
  }

  #byKey(key: string): Row | undefined {
    return this.database.get("SELECT * FROM jobs WHERE idempotency_key = ?", key);
  }
}

function jobNotFound(id: string): NotFoundError {
  return new NotFoundError(
    `Cannot find job ${JSON.stringify(id)}: there is none with this id, see "kitty-kv job list"`,
    {
      code: "job_not_found",
      details: { id },
    },
  );
}

function stateConflict(id: string, state: JobState, action: JobAction): KittyError {
  const hint = action === "retry" && isTerminal(state) ? "submit it again instead" : "wait until it has ended";
  return new KittyError(`Cannot ${action} job ${id}: it is ${state}, ${hint}`, {
    code: "job_state_conflict",
    details: { id, state, action },
  });
}

function idempotencyConflict(key: string, id: string): KittyError {
  return new KittyError(
    `Cannot submit this job: idempotency key ${JSON.stringify(key)} belongs to job ${id}, whose spec is another one; use another key, or the same spec`,
    { code: "idempotency_conflict", details: { idempotencyKey: key, id } },
  );
}
