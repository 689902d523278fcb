import { NotFoundError } from "../errors.js";
import type { OpenSessionOptions } from "../orchestrator/sessions.js";
import type { GenerationStream } from "../orchestrator/generation-stream.js";
import type { Kitty } from "../orchestrator/kitty.js";
import type { Session } from "../orchestrator/session.js";
import { RecentNames } from "./recent-names.js";

/** A session that somebody opened over HTTP. */
export interface ServedSession {
  session: Session;
  openedAt: Date;
  /** Generations that run, by the names their clients gave them. */
  streams: Map<string, GenerationStream>;
  /** Names that were cancelled before their generation began. */
  cancelledEarly: RecentNames;
}

interface Entry extends ServedSession {
  idleTimer: NodeJS.Timeout;
  uses: number;
}

/** Sessions that outlive the request that opened them; one that nobody uses for long is closed. */
export class ServedSessions {
  readonly #kitty: Kitty;
  readonly #idleTimeoutMs: number;
  readonly #entries = new Map<string, Entry>();

  constructor(kitty: Kitty, idleTimeoutMs: number) {
    this.#kitty = kitty;
    this.#idleTimeoutMs = idleTimeoutMs;
  }

  /** @throws what `kitty.sessions.open` throws */
  async open(options: OpenSessionOptions): Promise<ServedSession> {
    return this.#add(await this.#kitty.sessions.open(options));
  }

  /**
   * Opens a session that goes on from another one on its own.
   * @throws NotFoundError `session_not_found`, KittyError `session_busy`
   */
  async fork(id: string, signal: AbortSignal): Promise<ServedSession> {
    return await this.use(id, async ({ session }) => this.#add(await session.fork({ signal })));
  }

  #add(session: Session): ServedSession {
    const idleTimer = setTimeout(() => {
      this.#expire(session.id);
    }, this.#idleTimeoutMs);
    idleTimer.unref();
    const streams = new Map<string, GenerationStream>();
    const entry = { session, openedAt: new Date(), streams, cancelledEarly: new RecentNames(), idleTimer, uses: 0 };
    this.#entries.set(session.id, entry);
    return entry;
  }

  list(): ServedSession[] {
    return [...this.#entries.values()];
  }

  /** @throws NotFoundError `session_not_found` */
  get(id: string): ServedSession {
    return this.#entry(id);
  }

  /** Runs work with a session, which counts as used until the work is done. */
  async use<T>(id: string, work: (served: ServedSession) => Promise<T>): Promise<T> {
    const entry = this.#entry(id);
    entry.uses += 1;
    try {
      return await work(entry);
    } finally {
      entry.uses -= 1;
      entry.idleTimer.refresh();
    }
  }

  /** @throws NotFoundError `session_not_found` */
  async close(id: string): Promise<void> {
    const { session, idleTimer } = this.#entry(id);
    clearTimeout(idleTimer);
    this.#entries.delete(id);
    await session.close();
  }

  async closeAll(): Promise<void> {
    await Promise.all([...this.#entries.keys()].map((id) => this.close(id)));
  }

  #entry(id: string): Entry {
    const entry = this.#entries.get(id);
    if (entry !== undefined) return entry;
    throw new NotFoundError(
      `Cannot find session ${JSON.stringify(id.slice(0, 100))}: none of that id is open, list them with GET /api/sessions or open one`,
      { code: "session_not_found", details: { session: id.slice(0, 100) } },
    );
  }

  #expire(id: string): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    if (entry.uses > 0) entry.idleTimer.refresh();
    // Its worker may be gone, and the session with it.
    else void this.close(id).catch(() => undefined);
  }
}
