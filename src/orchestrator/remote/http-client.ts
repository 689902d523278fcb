import * as http from "node:http";
import * as https from "node:https";
import type { Readable } from "node:stream";
import { text as readText } from "node:stream/consumers";
import type { z } from "zod";
import { CancelledError, ConfigError, KittyError } from "../../errors.js";
import { fromHttpError } from "./from-http-error.js";

export interface ConnectOptions {
  /** Such as http://127.0.0.1:7717; `kitty-kv up` prints it. */
  url: string;
  token: string;
  signal?: AbortSignal | undefined;
}

export interface HttpRequest {
  method?: "GET" | "POST" | "DELETE" | undefined;
  /** Sent as JSON. */
  body?: unknown;
  /** Sent as it is, in place of a body. */
  upload?: Readable | undefined;
  headers?: Readonly<Record<string, string>> | undefined;
  signal?: AbortSignal | undefined;
}

/** Requests to one server. No limit of time, as a generation may wait for its turn for long; a signal ends each. */
export class HttpClient {
  readonly #url: string;
  readonly #token: string;
  readonly #transport: typeof http | typeof https;
  readonly #agent: http.Agent;

  constructor({ url, token }: ConnectOptions) {
    const { protocol } = parseUrl(url);
    this.#url = url.replace(/\/+$/, "");
    this.#token = checkToken(token);
    this.#transport = protocol === "https:" ? https : http;
    this.#agent = new this.#transport.Agent({ keepAlive: true });
  }

  /**
   * One call with a JSON answer.
   * @throws what the server said; KittyError `unreachable` or `invalid_answer`; CancelledError
   */
  async call<S extends z.ZodType>(path: string, schema: S, request: HttpRequest = {}): Promise<z.output<S>> {
    const text = await readText(await this.open(path, request)).catch((cause: unknown) => {
      throw this.#failure(cause, request.signal);
    });
    const { data } = schema.safeParse(parseJson(text === "" ? "{}" : text));
    if (data !== undefined) return data;
    throw new KittyError(`Cannot use ${this.#url}: its answer to ${path} is not what Kitty KV's API says`, {
      code: "invalid_answer",
      details: { path, answer: text.slice(0, 500) },
    });
  }

  /** One call whose answer is a stream; whoever reads it destroys it to give up. */
  async open(path: string, request: HttpRequest = {}): Promise<http.IncomingMessage> {
    const response = await this.#send(path, request).catch((cause: unknown) => {
      throw this.#failure(cause, request.signal);
    });
    const { statusCode = 0 } = response;
    if (statusCode < 400) return response;
    const text = await readText(response).catch(() => "");
    throw fromHttpError(statusCode, parseJson(text), `${this.#url}${path}`);
  }

  /** What a broken connection means to whoever waited for it. */
  lost(cause: unknown): KittyError {
    return this.#failure(cause, undefined);
  }

  close(): void {
    this.#agent.destroy();
  }

  #send(path: string, { method, body, upload, headers, signal }: HttpRequest): Promise<http.IncomingMessage> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    return new Promise((resolve, reject) => {
      const request = this.#transport.request(
        `${this.#url}${path}`,
        {
          method: method ?? (text === undefined ? "GET" : "POST"),
          agent: this.#agent,
          headers: {
            authorization: `Bearer ${this.#token}`,
            ...(text === undefined ? {} : { "content-type": "application/json" }),
            ...headers,
          },
          ...(signal === undefined ? {} : { signal }),
        },
        resolve,
      );
      request.once("error", reject);
      if (upload === undefined) request.end(text);
      else upload.once("error", (error) => request.destroy(error)).pipe(request);
    });
  }

  #failure(cause: unknown, signal: AbortSignal | undefined): KittyError {
    if (cause instanceof KittyError) return cause;
    if (signal?.aborted === true) return new CancelledError(`Cannot go on at ${this.#url}: the signal was aborted`);
    const { code = "", message } = cause as NodeJS.ErrnoException;
    const found = message === "" ? code : message;
    return new KittyError(`Cannot reach ${this.#url}: ${found}; start it with "kitty-kv up", or check the address`, {
      code: "unreachable",
      details: { url: this.#url },
      cause,
    });
  }
}

function parseUrl(url: string): URL {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed !== undefined && /^https?:$/.test(parsed.protocol)) return parsed;
  throw new ConfigError(
    `Cannot connect to ${JSON.stringify(url)}: want an address such as http://127.0.0.1:7717, which "kitty-kv up" prints`,
    { details: { url } },
  );
}

function checkToken(token: string): string {
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new ConfigError('Cannot connect: the token is not one, give what "kitty-kv up" prints');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
