import { throwIfAborted } from "../bridge/abortable.js";
import type { WorkerLog } from "../bridge/worker-bridge.js";
import { loadConfig, resolveConfig } from "../config/load.js";
import type { Config, ConfigInput } from "../config/schema.js";
import type { Runner } from "../runner/runner.js";
import { createRunner } from "./create-runner.js";
import { Jobs } from "./jobs/jobs.js";
import { LocalJobService } from "./jobs/local-job-service.js";
import { HttpClient, type ConnectOptions } from "./remote/http-client.js";
import { readSystem } from "./remote/read-system.js";
import { RemoteJobService } from "./remote/remote-job-service.js";
import { RemoteSessions } from "./remote/remote-sessions.js";
import { reportError } from "./report-error.js";
import { SessionEvents } from "./session-events.js";
import { Sessions, type SessionService } from "./sessions.js";
import { WorkerPool } from "./worker-pool.js";

export interface KittyOptions {
  /** A YAML file, or the same as an object; every key has a default. */
  config?: string | ConfigInput | undefined;
  /** Where workers run, in place of the one the configuration names. */
  runner?: Runner | undefined;
  /** Hears what workers print. */
  onLog?: ((log: WorkerLog) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** What an orchestrator has, wherever it runs. */
interface Parts {
  config: Config;
  sessions: SessionService;
  jobs: Jobs;
  /** Writes what the event log still lacks. */
  flush: () => void;
  /** Ends what is left once the sessions are closed. */
  stop: () => Promise<void>;
}

/** An orchestrator: one inside this process, or one that was started elsewhere. */
export class Kitty implements AsyncDisposable {
  readonly sessions: SessionService;
  /** Durable jobs; the first use opens their store and makes this the orchestrator of its folder. */
  readonly jobs: Jobs;
  /** Of the orchestrator, complete with defaults. */
  readonly config: Config;
  readonly #flush: () => void;
  readonly #stop: () => Promise<void>;
  #closing: Promise<void> | undefined;

  private constructor({ config, sessions, jobs, flush, stop }: Parts) {
    this.config = config;
    this.sessions = sessions;
    this.jobs = jobs;
    this.#flush = flush;
    this.#stop = stop;
  }

  /**
   * Connects to a running orchestrator, such as one that `kitty-kv up` started.
   * @throws UnauthorizedError for a wrong token, KittyError `unreachable`, ConfigError for what is no address
   * @example await using kitty = await Kitty.connect({ url: "http://127.0.0.1:7717", token });
   */
  static async connect(options: ConnectOptions): Promise<Kitty> {
    const client = new HttpClient(options);
    const { config } = await readSystem(client, options.signal);
    const stop = (): Promise<void> => {
      client.close();
      return Promise.resolve();
    };
    const jobs = new Jobs(() => new RemoteJobService(client));
    return new Kitty({ config, sessions: new RemoteSessions(client), jobs, flush: () => undefined, stop });
  }

  /**
   * Starts the workers there always are and resolves when they said hello; their imports go on while you open a session.
   * @throws ConfigError, NotFoundError (no Python), WorkerExitedError, CancelledError
   * @example await using kitty = await Kitty.start();
   */
  static async start(options: KittyOptions = {}): Promise<Kitty> {
    const { config: input, signal, onLog = () => undefined } = options;
    const config = typeof input === "string" ? await loadConfig(input) : resolveConfig(input);
    throwIfAborted(signal, "start Kitty");
    const runner = options.runner ?? createRunner(config);
    const pool = new WorkerPool(runner, isOnSlurm(config) ? { ...config.pool, min: 0 } : config.pool, onLog);
    try {
      await pool.fill(signal);
    } catch (error) {
      await runner.stop();
      throw error;
    }
    const events = new SessionEvents(() => jobs.openLog, reportError);
    const sessions = new Sessions(pool, config, events);
    const jobs: Jobs = new Jobs(() => new LocalJobService({ config, sessions }));
    const flush = (): void => {
      events.flush();
    };
    return new Kitty({ config, sessions, jobs, flush, stop: () => runner.stop() });
  }

  /** Closes the sessions and stops the workers; resolves when no process is left. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    try {
      this.#flush();
      // Jobs go back into the queue before the workers go that they run in.
      await this.jobs.close();
      await this.sessions.close();
    } finally {
      await this.#stop();
    }
  }
}

/** An allocation costs others their nodes: it is made for the first session, and none is kept without one. */
function isOnSlurm({ runner }: Config): boolean {
  return runner === "slurm";
}
