import { forgetToken, token } from "./token.js";

/** What the server said when it refused, or that it did not answer. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly details: Readonly<Record<string, unknown>> = {},
  ) {
    super(message);
    this.name = "ApiError";
  }

  /** Whether there was no answer at all. */
  get isOffline(): boolean {
    return this.status === 0;
  }
}

export interface CallOptions {
  method?: "GET" | "POST" | "DELETE";
  /** Sent as JSON. */
  body?: unknown;
  upload?: Blob;
  headers?: Readonly<Record<string, string>>;
  signal?: AbortSignal | undefined;
}

/**
 * Asks the server.
 * @throws ApiError; a wrong token is forgotten, so that the page asks for another one
 */
export async function ask(path: string, options: CallOptions = {}): Promise<Response> {
  const { body, upload, headers, signal } = options;
  const method = options.method ?? (body === undefined && upload === undefined ? "GET" : "POST");
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: { authorization: `Bearer ${token.value ?? ""}`, ...headers },
      body: upload ?? (body === undefined ? null : JSON.stringify(body)),
      signal: signal ?? null,
      cache: "no-store",
      credentials: "omit",
    });
  } catch (error) {
    if (signal?.aborted === true) throw error;
    throw new ApiError(0, "offline", "The orchestrator does not answer; check that kitty-kv up still runs.");
  }
  if (!response.ok) throw await toError(response);
  return response;
}

/** The same, for an answer in JSON. The type is the server's own, which checks what it sends in its tests. */
export async function call<T>(path: string, options: CallOptions = {}): Promise<T> {
  const response = await ask(path, options);
  return (response.status === 204 ? undefined : await response.json()) as T;
}

/** One sentence for people, whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

async function toError(response: Response): Promise<ApiError> {
  if (response.status === 401) forgetToken();
  const body = (await response.json().catch(() => ({}))) as { error?: Partial<ApiError> };
  const { code = "unknown", message = `The server answered ${String(response.status)}.`, details } = body.error ?? {};
  return new ApiError(response.status, code, message, details);
}
