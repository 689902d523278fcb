import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { abortable, throwIfAborted } from "../bridge/abortable.js";
import type { EngineMetrics } from "../bridge/messages.js";
import type { WorkerClient } from "../bridge/worker-client.js";
import { cacheSchema, type CacheInput, type Config } from "../config/schema.js";
import { validate } from "../config/validate.js";
import { ConfigError, KittyError, NotFoundError } from "../errors.js";
import { Session, type SessionInfo, type SessionOwner } from "./session.js";
import type { SessionEvents } from "./session-events.js";
import { UsageMeter } from "./usage/usage-meter.js";
import type { WorkerPlace, WorkerPool } from "./worker-pool.js";

export type { EngineMetrics };

export interface OpenSessionOptions {
  /** A model's folder or hub id; null is the bundled model. @default the configuration's */
  model?: string | null | undefined;
  /** With `preset` it stands alone; without, it changes single fields of the configuration's cache. */
  cache?: CacheInput | undefined;
  /** A file that `session.save()` wrote: its text, turns and cache are gone on with, and its cache's configuration stays. */
  saved?: string | undefined;
  signal?: AbortSignal | undefined;
}

/** What opens sessions, in this process or on a server. */
export interface SessionService {
  /**
   * Loads the model where needed and makes an empty cache for it, or takes a saved one.
   * @throws ConfigError, NotFoundError (no such model or file), KittyError `cache_file` (one of another model, or damaged),
   *   CancelledError, WorkerExitedError
   */
  open(options?: OpenSessionOptions): Promise<Session>;

  /** Closes all that were opened here, for good. */
  close(): Promise<void>;
}

/** The open sessions of one Kitty; any number at once, in one worker or several. */
export class Sessions implements SessionService {
  /** What all of them write. */
  readonly meter = new UsageMeter();
  readonly #pool: WorkerPool;
  readonly #config: Config;
  readonly #events: SessionEvents;
  /** With the places in workers that they have. */
  readonly #open = new Map<Session, WorkerPlace>();
  #count = 0;
  #isClosed = false;

  constructor(pool: WorkerPool, config: Config, events: SessionEvents) {
    this.#pool = pool;
    this.#config = config;
    this.#events = events;
  }

  /** Those that are open now, whoever opened them. */
  get all(): readonly Session[] {
    return [...this.#open.keys()];
  }

  /** What the engines of the workers do; who does not answer in time is left out. */
  engineMetrics(timeoutMs: number): Promise<EngineMetrics[]> {
    return this.#pool.engineMetrics(timeoutMs);
  }

  async open(options: OpenSessionOptions = {}): Promise<Session> {
    const cache = this.#resolveCache(options.cache);
    if (this.#isClosed)
      throw new KittyError("Cannot open a session: this Kitty is closed, start a new one", { code: "closed" });
    throwIfAborted(options.signal, "open a session");
    checkSaved(options);
    const place = await this.#pool.join(options.signal);
    try {
      return await this.#openIn(place, cache, options);
    } catch (error) {
      place.leave();
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all([...this.#open.keys()].map((session) => session.close()));
  }

  async #openIn(
    place: WorkerPlace,
    cache: Record<string, string | number>,
    { model: wanted = this.#config.model, saved: file, signal }: OpenSessionOptions,
  ): Promise<Session> {
    const { client } = place;
    const { device, dtype, kvMemoryMiB, stepTimeoutMs } = this.#config.worker;
    const name = this.#newName();
    const saved = file === undefined ? null : resolve(file);
    const params = { session: name, model: absoluteFolder(wanted), cache, dtype, device, kvMemoryMiB, saved };
    const opening = client.openSession(params, { timeoutMs: stepTimeoutMs });
    const { session: id, ...opened } = await abortable(opening, signal, "open a session").catch((error: unknown) => {
      closeLater(opening, client, name);
      throw error;
    });
    return this.#add({ id, ...opened }, place, null);
  }

  #add(info: SessionInfo, place: WorkerPlace, forkOf: string | null): Session {
    const session = new Session(info, this.meter.attach(place.client), this.#owner);
    this.#open.set(session, place);
    this.#events.opened(session, forkOf);
    void place.client.bridge.exited.then((error) => {
      if (this.#open.has(session)) this.#events.lost(session, error);
    });
    return session;
  }

  readonly #owner: SessionOwner = {
    fork: (session, { signal }) => this.#fork(session, signal),
    onGeneration: (session, generation) => this.#events.generation(session, generation),
    onClose: (session) => {
      this.#events.closed(session);
      this.#open.get(session)?.leave();
      this.#open.delete(session);
    },
  };

  /** A fork shares memory with its source, so it is in the same worker. */
  async #fork(source: Session, signal: AbortSignal | undefined): Promise<Session> {
    throwIfAborted(signal, "fork a session");
    const place = this.#open.get(source)?.another();
    if (place === undefined) {
      throw new NotFoundError(`Cannot fork session ${source.id}: it is closed, open a new one`, {
        code: "session_not_found",
        details: { session: source.id },
      });
    }
    try {
      const name = this.#newName();
      const forking = place.client.forkSession(source.id, name);
      const { session: id, ...forked } = await abortable(forking, signal, "fork a session").catch((error: unknown) => {
        closeLater(forking, place.client, name);
        throw error;
      });
      return this.#add({ id, ...forked }, place, source.id);
    } catch (error) {
      place.leave();
      throw error;
    }
  }

  #newName(): string {
    return `s${String(++this.#count)}`;
  }

  #resolveCache(input: CacheInput | undefined): Record<string, string | number> {
    const cache = checkCache(input);
    const merged = cache.preset === undefined ? { ...this.#config.cache, ...cache } : cache;
    return Object.fromEntries(
      Object.entries(merged).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
    );
  }
}

/** @throws ConfigError */
export function checkCache(input: CacheInput | undefined) {
  return validate(cacheSchema, input ?? {}, { attempt: "open a session" });
}

/** @throws ConfigError, NotFoundError */
export function checkSaved({ saved, cache }: OpenSessionOptions): void {
  if (saved === undefined) return;
  if (cache !== undefined) {
    throw new ConfigError("Cannot open a session: give saved or cache, as a saved session keeps its own cache");
  }
  if (existsSync(saved)) return;
  throw new NotFoundError(
    `Cannot open a session from ${JSON.stringify(saved)}: there is no such file, check the path`,
    {
      code: "saved_session_not_found",
      details: { saved },
    },
  );
}

/** A worker may have another working folder; a hub id stays as it is. */
function absoluteFolder(model: string | null): string | null {
  return model !== null && existsSync(model) ? resolve(model) : model;
}

/** The worker goes on opening a session that nobody waits for any more; it must not keep it. */
function closeLater(opening: Promise<unknown>, client: WorkerClient, session: string): void {
  opening.then(() => client.closeSession(session)).catch(() => undefined);
}
