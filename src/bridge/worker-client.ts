import { TimeoutError, type KittyError } from "../errors.js";
import { giveFile, takeFile } from "./file-exchange.js";
import { fromWireError } from "./from-wire-error.js";
import {
  generationResultSchema,
  METHODS,
  type KvCacheMemory,
  type Method,
  type Params,
  type Result,
  type TokenLogprob,
  type WireGenerationResult,
} from "./messages.js";
import type { Outcome } from "./envelope.js";
import type { CallOptions, WorkerBridge } from "./worker-bridge.js";

export interface GenerationListener {
  onTokens: (text: string, tokens: number, logprobs?: TokenLogprob[]) => void;
  onResult: (result: WireGenerationResult) => void;
  onError: (error: KittyError) => void;
}

/** What a worker can do, with types; everything is checked in both directions. */
export class WorkerClient {
  constructor(readonly bridge: WorkerBridge) {}

  ping(options?: CallOptions): Promise<Result<"ping">> {
    return this.#invoke("ping", {}, options);
  }

  openSession(params: Params<"openSession">, options?: CallOptions): Promise<Result<"openSession">> {
    const { saved } = params;
    if (typeof saved !== "string") return this.#invoke("openSession", params, options);
    return giveFile(this.bridge.exchange, saved, (path) =>
      this.#invoke("openSession", { ...params, saved: path }, options),
    );
  }

  /** Writes a session's cache and history to a file of this machine. */
  async saveSession(session: string, path: string, options?: CallOptions): Promise<void> {
    await takeFile(this.bridge.exchange, path, async (shown) => {
      await this.#invoke("saveSession", { session, path: shown }, options);
    });
  }

  forkSession(session: string, fork: string, options?: CallOptions): Promise<Result<"forkSession">> {
    return this.#invoke("forkSession", { session, fork }, options);
  }

  async closeSession(session: string, options?: CallOptions): Promise<void> {
    await this.#invoke("closeSession", { session }, options);
  }

  memory(session: string, options?: CallOptions): Promise<KvCacheMemory> {
    return this.#invoke("memory", { session }, options);
  }

  /** What the engine of all its sessions does and has done. */
  engineMetrics(options?: CallOptions): Promise<Result<"engineMetrics">> {
    return this.#invoke("engineMetrics", {}, options);
  }

  /** Each token's text by itself; a part of a character becomes U+FFFD. */
  async tokenTexts(session: string, tokens: readonly number[]): Promise<string[]> {
    return (await this.#invoke("tokenTexts", { session, tokens: [...tokens] })).texts;
  }

  /** Starts a generation; its listener hears tokens, then exactly one result or error, whatever happens. */
  async generate(params: Params<"generate">, listener: GenerationListener): Promise<void> {
    await this.#generateOn("generate", params, listener);
  }

  /** Lets a stream send more tokens. */
  async credit(stream: string, tokens: number): Promise<void> {
    this.bridge.streams.grant(stream, tokens);
    await this.#invoke("credit", { stream, tokens });
  }

  async cancel(stream: string): Promise<boolean> {
    return (await this.#invoke("cancel", { stream })).cancelled;
  }

  async benchEcho(payload: string): Promise<string> {
    return (await this.#invoke("bench.echo", { payload })).payload;
  }

  /** Makes the worker push events from a thread of its own; resolves when the last one arrived. */
  benchEmit(params: Params<"bench.emit">, onTokens: (text: string, tokens: number) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#startStream("bench.emit", params, Number.MAX_SAFE_INTEGER, {
        onTokens,
        onEnd: (outcome) => {
          if ("error" in outcome) reject(fromWireError(outcome.error));
          else resolve();
        },
        onWorkerExit: reject,
      }).catch(reject);
    });
  }

  /** A generation of a model made for measuring, which hears and ends like any other. */
  async benchGenerate(params: Params<"bench.generate">, listener: GenerationListener): Promise<void> {
    await this.#generateOn("bench.generate", params, listener);
  }

  async #generateOn<M extends "generate" | "bench.generate">(
    method: M,
    params: Params<M>,
    listener: GenerationListener,
  ): Promise<void> {
    await this.#startStream(method, params, params.credit, {
      onTokens: listener.onTokens,
      onEnd: (outcome) => {
        this.#endGeneration(outcome, listener);
      },
      onWorkerExit: listener.onError,
    }).catch((error: unknown) => {
      listener.onError(error as KittyError);
    });
  }

  async #startStream<M extends "generate" | "bench.emit" | "bench.generate">(
    method: M,
    params: Params<M>,
    credit: number,
    listener: Parameters<WorkerBridge["streams"]["open"]>[1],
  ): Promise<void> {
    this.bridge.streams.open(params.stream, listener, credit);
    try {
      await this.#invoke(method, params);
    } catch (error) {
      // After a time-out the worker may still be about to start it.
      if (!(error instanceof TimeoutError)) this.bridge.streams.discard(params.stream);
      throw error;
    }
  }

  #endGeneration(outcome: Outcome, listener: GenerationListener): void {
    if ("error" in outcome) {
      listener.onError(fromWireError(outcome.error));
      return;
    }
    const { data, error } = generationResultSchema.safeParse(outcome.ok);
    if (data !== undefined) {
      listener.onResult(data);
      return;
    }
    this.bridge.kill(`the worker sent a result that is not valid: ${firstIssue(error)}`);
    void this.bridge.exited.then(listener.onError);
  }

  async #invoke<M extends Method>(method: M, params: Params<M>, options?: CallOptions): Promise<Result<M>> {
    const checked = METHODS[method].params.parse(params);
    const answer = await this.bridge.call(method, checked, options);
    const { data, error } = METHODS[method].result.safeParse(answer);
    if (data !== undefined) return data as Result<M>;
    this.bridge.kill(`the worker sent an answer to "${method}" that is not valid: ${firstIssue(error)}`);
    throw await this.bridge.exited;
  }
}

function firstIssue(error: { issues: readonly { path: readonly PropertyKey[]; message: string }[] }): string {
  const [issue] = error.issues;
  return issue === undefined ? "unknown" : `${issue.path.map(String).join(".") || "it"}: ${issue.message}`;
}
