import { randomUUID } from "node:crypto";
import { join } from "node:path";
import type { Readable } from "node:stream";
import type { Config } from "../../config/schema.js";
import { ConfigError } from "../../errors.js";
import type { KittyEvent, NewEvent } from "../../job/event.js";
import type { EventLog } from "../../job/event-log.js";
import { jobIdSchema, type JobSpec, type JobSpecInput } from "../../job/job-spec.js";
import { isTerminal } from "../../job/job-state.js";
import type { JobLogPage, JobPage, JobService, ListJobsOptions, SubmitOptions } from "../../job/job-service.js";
import type { Job } from "../../job/job.js";
import type { JobReport } from "../../job/report-schemas.js";
import { reportError } from "../report-error.js";
import { NodeSight } from "../../runner/node-sight.js";
import { checkOnSlurm } from "../../runner/slurm-check.js";
import { nodeConfig, sharedFolder } from "../../runner/slurm-node-config.js";
import { SlurmTasks } from "../../runner/slurm-tasks.js";
import type { SessionService } from "../sessions.js";
import { checkIdempotencyKey } from "./check-idempotency-key.js";
import { checkJob, singleJobs } from "./check-job.js";
import { Database } from "./database.js";
import { EventTable } from "./event-table.js";
import { HomeLock } from "./home-lock.js";
import { JobFolder } from "./job-folder.js";
import { jobsFolder, storeFolder } from "./jobs-folder.js";
import { JobQueue } from "./job-queue.js";
import { JobStore } from "./job-store.js";
import { fileNotFound, openJobFile } from "./open-job-file.js";
import { readLogPage } from "./read-log-page.js";
import { findReportSources } from "./report-sources.js";
import { Reports } from "./reports.js";
import { generateExecutor } from "./run-generate.js";
import { evalExecutor, latencyExecutor, simulateExecutor } from "./run-python.js";
import { slurmExecutor } from "./run-on-slurm.js";
import { sweepExecutor } from "./run-sweep.js";
import { Scheduler, type Executors } from "./scheduler.js";
import { waitForEnd } from "./wait-for-end.js";

const POLL_MS = 200;

export interface LocalJobServiceOptions {
  config: Config;
  /** What runs jobs here; without it jobs are only stored and followed, and another process runs them. */
  sessions?: SessionService | undefined;
  /** @default a line on stderr */
  onError?: ((error: unknown) => void) | undefined;
  /** @default Date.now */
  now?: (() => number) | undefined;
}

/** Durable jobs in a folder of this machine. */
export class LocalJobService implements JobService {
  readonly events: EventLog;
  readonly log: EventLog;
  readonly #config: Config;
  readonly #onError: (error: unknown) => void;
  readonly #store: JobStore;
  readonly #table: EventTable;
  readonly #jobsFolder: string;
  readonly #reports: Reports;
  #slurm: SlurmTasks | undefined;
  readonly #sight = new NodeSight();
  readonly #lock: HomeLock | undefined;
  readonly #scheduler: Scheduler | undefined;
  readonly #poll: NodeJS.Timeout | undefined;

  /** @throws KittyError `orchestrator_running`, and what `Database` throws */
  constructor({ config, sessions, onError = reportError, now = Date.now }: LocalJobServiceOptions) {
    const folder = storeFolder(config);
    this.#config = config;
    this.#onError = onError;
    this.#jobsFolder = jobsFolder(config);
    this.#reports = new Reports(config);
    this.#lock = sessions === undefined ? undefined : new HomeLock(folder);
    try {
      const database = new Database(join(folder, "jobs.db"), { journal: config.jobs.journal });
      this.#table = new EventTable(database, now);
      this.events = this.log = this.#table;
      this.#store = new JobStore(database, this.#table, now);
    } catch (error) {
      this.#lock?.[Symbol.dispose]();
      throw error;
    }
    if (sessions !== undefined) {
      // Sessions that the log has as open ended with the orchestrator before.
      this.#table.append(systemEvent("orchestrator.started"));
      this.#scheduler = this.#startScheduler(sessions, onError);
    } else this.#poll = this.#followOthers();
  }

  async submit(spec: JobSpecInput, { idempotencyKey }: SubmitOptions = {}): Promise<Job> {
    checkIdempotencyKey(idempotencyKey);
    const [checked] = await this.#check([spec]);
    const jobs = this.#store.insert(checked === undefined ? [] : [{ spec: checked, idempotencyKey }]);
    this.#wake();
    return only(jobs);
  }

  async submitMany(specs: readonly JobSpecInput[]): Promise<Job[]> {
    const checked = await this.#check(specs);
    const jobs = this.#store.insert(checked.map((spec) => ({ spec })));
    this.#wake();
    return jobs;
  }

  async get(id: string): Promise<Job> {
    return await Promise.resolve(this.#store.get(id));
  }

  async list({ state, parent, limit = 50, cursor }: ListJobsOptions = {}): Promise<JobPage> {
    const before = cursor === undefined ? Number.MAX_SAFE_INTEGER : readCursor(cursor);
    const size = Math.min(Math.max(1, limit), 500);
    const found = this.#store.list({ state, parent, before, limit: size + 1 });
    const page = found.slice(0, size);
    const next = found.length > size ? String(page.at(-1)?.seq) : null;
    return await Promise.resolve({ jobs: page.map(({ job }) => job), next });
  }

  async cancel(id: string): Promise<Job> {
    const job = this.#store.cancel(id);
    this.#wake();
    return await Promise.resolve(job);
  }

  async retry(id: string): Promise<Job> {
    const job = this.#store.retry(id);
    this.#wake();
    return await Promise.resolve(job);
  }

  async history(id: string): Promise<KittyEvent[]> {
    this.#store.get(id);
    return await Promise.resolve(this.#table.of(id));
  }

  async logs(id: string, options: { offset?: number; limitBytes?: number } = {}): Promise<JobLogPage> {
    const { state } = this.#store.get(id);
    return await readLogPage(new JobFolder(this.#jobsFolder, jobIdSchema.parse(id)), isTerminal(state), options);
  }

  async openFile(id: string, name: string): Promise<Readable> {
    const { result } = this.#store.get(id);
    // Only what the result names, so that no name is a path.
    const known = result?.files.map((file) => file.name) ?? [];
    if (!known.includes(name)) throw fileNotFound(id, name, known);
    return await openJobFile(new JobFolder(this.#jobsFolder, jobIdSchema.parse(id)).file(name), id);
  }

  async report(ids: readonly string[], { signal }: { signal?: AbortSignal | undefined } = {}): Promise<JobReport> {
    return await this.#reports.about(await findReportSources(ids, this, this.#jobsFolder), signal);
  }

  async wait(id: string, { signal }: { signal?: AbortSignal | undefined } = {}): Promise<Job> {
    return await waitForEnd(this, id, signal);
  }

  /** Puts what runs back into the queue, for the next orchestrator. */
  async close(): Promise<void> {
    clearInterval(this.#poll);
    this.#reports.close();
    // First, so that what waits for Slurm's answer does not keep jobs from going back.
    this.#slurm?.close();
    await this.#scheduler?.close();
    if (this.#scheduler !== undefined) this.#appendLast(systemEvent("orchestrator.stopped"));
    this.#table.close();
    this.#store.database.close();
    this.#lock?.[Symbol.dispose]();
  }

  /** A full disk must not keep the folder locked. */
  #appendLast(event: NewEvent): void {
    try {
      this.#table.append(event);
    } catch (error) {
      this.#onError(error);
    }
  }

  /** What can never run is refused here; on a cluster, the site itself is asked. */
  async #check(specs: readonly JobSpecInput[]): Promise<JobSpec[]> {
    const checked = specs.map((spec) => checkJob(spec, this.#config));
    if (this.#config.runner === "slurm") await checkOnSlurm(this.#config, checked.flatMap(singleJobs), this.#sight);
    return checked;
  }

  #startScheduler(sessions: SessionService, onError: (error: unknown) => void): Scheduler {
    const { jobs, slurm, runner } = this.#config;
    const isElsewhere = runner === "slurm";
    const sweep = sweepExecutor(this.#store, this.#config, (id, signal) => this.wait(id, { signal }));
    const queue = new JobQueue(this.#store, randomUUID(), jobs.leaseMs);
    const executors = { ...this.#executors(sessions, queue, onError), sweep };
    const jobsFolder = this.#jobsFolder;
    const config = isElsewhere ? { ...jobs, slots: slurm.maxSubmitted } : jobs;
    const scheduler = new Scheduler({ store: this.#store, queue, executors, jobsFolder, config, isElsewhere, onError });
    scheduler.start();
    return scheduler;
  }

  #executors(sessions: SessionService, queue: JobQueue, onError: (error: unknown) => void): Omit<Executors, "sweep"> {
    if (this.#config.runner === "slurm") {
      this.#slurm = new SlurmTasks({
        config: nodeConfig(this.#config),
        folder: sharedFolder(this.#config),
        onTrouble: (message) => {
          onError(new Error(message));
        },
        onPlaced: queue.setPlaced.bind(queue),
      });
      const onSlurm = slurmExecutor(this.#slurm);
      return { generate: onSlurm, latency: onSlurm, simulate: onSlurm, eval: onSlurm };
    }
    return {
      generate: generateExecutor(sessions),
      latency: latencyExecutor(this.#config),
      simulate: simulateExecutor(this.#config),
      eval: evalExecutor(this.#config),
    };
  }

  /** What other processes write becomes known by looking. */
  #followOthers(): NodeJS.Timeout {
    let version = this.#store.database.foreignVersion;
    return setInterval(() => {
      const latest = this.#store.database.foreignVersion;
      if (latest !== version) this.#table.tellSoon();
      version = latest;
    }, POLL_MS);
  }

  /** Not at once: whoever submits many one after another should not wait for their starts in between. */
  #wake(): void {
    setImmediate(() => this.#scheduler?.tick());
  }
}

function systemEvent(type: string): NewEvent {
  return { topic: "system", type, id: null, data: { pid: process.pid } };
}

function only(jobs: readonly Job[]): Job {
  const [job] = jobs;
  if (job === undefined) throw new RangeError("Cannot submit this job: the store stored none");
  return job;
}

function readCursor(cursor: string): number {
  if (/^\d{1,15}$/.test(cursor)) return Number(cursor);
  throw new ConfigError(`Cannot list jobs: cursor must be the "next" of a page, got ${JSON.stringify(cursor)}`);
}
