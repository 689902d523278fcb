import { createWriteStream } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { z } from "zod";
import type { KvCacheMemory, Params } from "../../bridge/messages.js";
import type { CallOptions } from "../../bridge/worker-bridge.js";
import type { GenerationListener } from "../../bridge/worker-client.js";
import { KittyError } from "../../errors.js";
import type { SessionClient } from "../session-client.js";
import { cancelledSchema, kvCacheMemorySchema, tokenTextsSchema } from "../session-schemas.js";
import type { HttpClient } from "./http-client.js";
import { RemoteStreams } from "./remote-streams.js";

// A session that a server has closed, or a server that is gone, has freed everything already.
const GONE = new Set(["session_not_found", "unreachable"]);

/** What sessions ask of a worker, asked of a server. */
export class RemoteSessionClient implements SessionClient {
  readonly #client: HttpClient;
  readonly #streams: RemoteStreams;
  /** Which session a stream belongs to. */
  readonly #sessions = new Map<string, string>();

  constructor(client: HttpClient) {
    this.#client = client;
    this.#streams = new RemoteStreams(client);
  }

  async generate(params: Params<"generate">, listener: GenerationListener): Promise<void> {
    const { session, stream, prompt, messages, options, credit } = params;
    const input = prompt === null ? { messages } : { prompt };
    this.#sessions.set(stream, session);
    try {
      const body = { ...options, ...input, stream: true, generation: stream };
      const answer = await this.#client.open(`${pathOf(session)}/generate`, { body });
      await this.#streams.follow(stream, credit, answer, listener);
    } catch (error) {
      listener.onError(error as KittyError);
    } finally {
      this.#sessions.delete(stream);
    }
  }

  credit(stream: string, tokens: number): Promise<void> {
    this.#streams.grant(stream, tokens);
    return Promise.resolve();
  }

  async cancel(stream: string): Promise<boolean> {
    const session = this.#sessions.get(stream);
    if (session === undefined) return false;
    // Nobody reads its text any more, and its end comes behind that.
    this.#streams.grant(stream, Number.MAX_SAFE_INTEGER);
    const path = `${pathOf(session)}/cancel`;
    return (await this.#client.call(path, cancelledSchema, { body: { generation: stream } })).cancelled;
  }

  memory(session: string, { signal }: CallOptions = {}): Promise<KvCacheMemory> {
    return this.#client.call(`${pathOf(session)}/memory`, kvCacheMemorySchema, { signal });
  }

  async tokenTexts(session: string, tokens: readonly number[]): Promise<string[]> {
    return (await this.#client.call(`${pathOf(session)}/token-texts`, tokenTextsSchema, { body: { tokens } })).texts;
  }

  /** The file is on this machine, as it is with a worker of this process; it is there whole or not at all. */
  async saveSession(session: string, path: string, { signal }: CallOptions = {}): Promise<void> {
    const draft = `${path}.${String(process.pid)}.partial`;
    try {
      const answer = await this.#client.open(`${pathOf(session)}/saved`, { signal });
      await pipeline(answer, createWriteStream(draft, { mode: 0o600 }));
      await rename(draft, path);
    } catch (error) {
      if (error instanceof KittyError) throw error;
      const found = (error as Error).message;
      throw new KittyError(
        `Cannot save the session to ${JSON.stringify(path)}: ${found}; choose a folder you may write`,
        {
          code: "cache_file",
          details: { path },
          cause: error,
        },
      );
    } finally {
      await rm(draft, { force: true });
    }
  }

  async closeSession(session: string): Promise<void> {
    try {
      await this.#client.call(pathOf(session), z.unknown(), { method: "DELETE" });
    } catch (error) {
      if (!(error instanceof KittyError && GONE.has(error.code))) throw error;
    }
  }
}

function pathOf(session: string): string {
  return `/api/sessions/${encodeURIComponent(session)}`;
}
