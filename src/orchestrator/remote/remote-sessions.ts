import { createReadStream } from "node:fs";
import { KittyError } from "../../errors.js";
import { Session, type SessionInfo, type SessionOwner } from "../session.js";
import { sessionInfoSchema } from "../session-schemas.js";
import { checkCache, checkSaved, type OpenSessionOptions, type SessionService } from "../sessions.js";
import type { HttpClient } from "./http-client.js";
import { RemoteSessionClient } from "./remote-session-client.js";

/** Sessions on a server; those of others there are left alone. */
export class RemoteSessions implements SessionService {
  readonly #client: HttpClient;
  readonly #sessionClient: RemoteSessionClient;
  readonly #open = new Set<Session>();
  #isClosed = false;

  constructor(client: HttpClient) {
    this.#client = client;
    this.#sessionClient = new RemoteSessionClient(client);
  }

  async open(options: OpenSessionOptions = {}): Promise<Session> {
    const { model, saved, signal } = options;
    const cache = checkCache(options.cache);
    if (this.#isClosed)
      throw new KittyError("Cannot open a session: this Kitty is closed, connect once more", { code: "closed" });
    checkSaved(options);
    const info =
      saved === undefined
        ? await this.#client.call("/api/sessions", sessionInfoSchema, { body: { model, cache }, signal })
        : await this.#restore(saved, options);
    return this.#add(info);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all([...this.#open].map((session) => session.close()));
  }

  readonly #owner: SessionOwner = {
    fork: async ({ id }, { signal }) => {
      const path = `/api/sessions/${encodeURIComponent(id)}/fork`;
      return this.#add(await this.#client.call(path, sessionInfoSchema, { method: "POST", signal }));
    },
    // The server writes its own log.
    onGeneration: () => () => undefined,
    onClose: (session) => {
      this.#open.delete(session);
    },
  };

  #add(info: SessionInfo): Session {
    const session = new Session(info, this.#sessionClient, this.#owner);
    this.#open.add(session);
    return session;
  }

  /** A saved session is a file of this machine, so it is sent along. */
  #restore(saved: string, { model, signal }: OpenSessionOptions) {
    const query = typeof model === "string" ? `?model=${encodeURIComponent(model)}` : "";
    return this.#client.call(`/api/sessions/restore${query}`, sessionInfoSchema, {
      method: "POST",
      upload: createReadStream(saved),
      headers: { "content-type": "application/octet-stream" },
      signal,
    });
  }
}
