import { throwIfAborted } from "../bridge/abortable.js";
import type { WorkerLog } from "../bridge/worker-bridge.js";
import { loadConfig, resolveConfig } from "../config/load.js";
import type { Config, ConfigInput } from "../config/schema.js";
import type { Runner } from "../runner/runner.js";
import { createRunner } from "./create-runner.js";
import { Sessions } from "./sessions.js";
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

/** An orchestrator inside this process. */
export class Kitty implements AsyncDisposable {
  readonly sessions: Sessions;
  readonly config: Config;
  readonly #runner: Runner;
  #closing: Promise<void> | undefined;

  private constructor(config: Config, runner: Runner, pool: WorkerPool) {
    this.config = config;
    this.#runner = runner;
    this.sessions = new Sessions(pool, config);
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
    const pool = new WorkerPool(runner, config.pool, onLog);
    try {
      await pool.fill(signal);
    } catch (error) {
      await runner.stop();
      throw error;
    }
    return new Kitty(config, runner, pool);
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
      await this.sessions.close();
    } finally {
      await this.#runner.stop();
    }
  }
}
