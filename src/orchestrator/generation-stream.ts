import type { GenerationListener } from "../bridge/worker-client.js";
import type { KvCacheMemory, Params, TokenLogprob, WireGenerationResult } from "../bridge/messages.js";
import type { KittyError } from "../errors.js";
import type { SessionClient } from "./session-client.js";
import { deferred } from "../util/deferred.js";

/** How many tokens a worker may send ahead of the reader. */
export const CREDIT_WINDOW_TOKENS = 256;
const REFILL_TOKENS = CREDIT_WINDOW_TOKENS / 4;

export interface GenerationChunk {
  text: string;
  /** How many new tokens this text stands for; a character of several tokens comes with its last one. */
  tokens: number;
  /** One a token, where they were asked for; what comes behind the last text is in the result only. */
  logprobs?: TokenLogprob[] | undefined;
}

export interface GenerationResult {
  text: string;
  finishReason: "length" | "stop" | "cancelled";
  usage: { promptTokens: number; completionTokens: number };
  /** null when it was cancelled before its first token. */
  timeToFirstTokenMs: number | null;
  tokensPerSecond: number | null;
  metrics: GenerationMetrics;
  /** One a token, where `logprobs` was asked for: the chosen token and the most probable ones, `[id, log probability]`. */
  logprobs?: TokenLogprob[] | undefined;
  kvCache: KvCacheMemory;
}

/** How the engine, which runs all sessions of a worker together, treated this generation. */
export interface GenerationMetrics {
  /** From its arrival until it began; null when it never did. */
  queueTimeMs: number | null;
  /** Mean time from one token to the next; null below two tokens. */
  interTokenLatencyMs: number | null;
  /** Tokens of the prompt that another prompt had left in the cache. */
  reusedTokens: number;
  /** How often its cache was dropped for others and filled again. */
  preemptions: number;
  /** Tokens that speculative decoding proposed. */
  draftedTokens: number;
  /** Those of them that became text. */
  acceptedTokens: number;
  /** What its cache holds, in bytes. */
  kvBytes: number;
}

/**
 * Text as it is written. The worker stops when the reader is CREDIT_WINDOW_TOKENS behind.
 * Leaving the loop early cancels the generation.
 */
export class GenerationStream implements AsyncIterable<GenerationChunk>, GenerationListener {
  readonly #id: string;
  readonly #client: SessionClient;
  readonly #result = deferred<GenerationResult>();
  readonly #onEnd: (outcome: GenerationResult | KittyError) => void;
  readonly #chunks: GenerationChunk[] = [];
  #wakeReader: (() => void) | undefined;
  #readTokens = 0;
  #isStarted = false;
  #isDraining = false;
  #isCancelled = false;
  #isEnded = false;
  #hasTokens = false;
  #error: KittyError | undefined;

  /** @param onEnd hears of its one end before anybody else */
  constructor(id: string, client: SessionClient, onEnd: (outcome: GenerationResult | KittyError) => void) {
    this.#id = id;
    this.#client = client;
    this.#onEnd = onEnd;
    // Whoever only iterates gets the error there.
    this.#result.promise.catch(() => undefined);
  }

  /** Whether `cancel` was asked for, by whatever way. */
  get isCancelled(): boolean {
    return this.#isCancelled;
  }

  /** Whether its first token has come; before, it waits for its turn or its prompt is being read. */
  get hasTokens(): boolean {
    return this.#hasTokens;
  }

  /** Sends the request, after a generation of the same session that was given up has made its last step. */
  async start(params: Params<"generate">, previous: GenerationStream | undefined): Promise<void> {
    if (previous?.isCancelled === true) await previous.ended();
    if (this.#isCancelled) {
      await this.#endUnstarted(params.session);
      return;
    }
    this.#isStarted = true;
    await this.#client.generate(params, this);
  }

  /** Waits for the end; what nobody iterates is read and kept in the meantime. */
  result(): Promise<GenerationResult> {
    if (!this.#isDraining) {
      this.#isDraining = true;
      for (const { tokens } of this.#chunks) this.#readTokens += tokens;
      this.#refill();
    }
    return this.#result.promise;
  }

  /** Stops within one decode step; iteration ends at once, and `result()` has the text up to there. */
  async cancel(): Promise<void> {
    if (!this.#isCancelled && !this.#isEnded) {
      this.#isCancelled = true;
      this.#wakeReader?.();
      if (this.#isStarted) this.#tell(this.#client.cancel(this.#id));
    }
    await this.ended();
  }

  /** Resolves when the worker is done with it, well or not. */
  async ended(): Promise<void> {
    await this.#result.promise.catch(() => undefined);
  }

  [Symbol.asyncIterator](): AsyncIterator<GenerationChunk, undefined> {
    return {
      next: () => this.#next(),
      return: async () => {
        await this.cancel();
        return { done: true, value: undefined };
      },
    };
  }

  onTokens = (text: string, tokens: number, logprobs?: TokenLogprob[]): void => {
    this.#hasTokens = true;
    this.#chunks.push(logprobs === undefined ? { text, tokens } : { text, tokens, logprobs });
    if (this.#isDraining) {
      this.#readTokens += tokens;
      this.#refill();
    }
    this.#wakeReader?.();
  };

  onResult = ({ promptTokens, completionTokens, ...wire }: WireGenerationResult): void => {
    const { queueTimeMs, interTokenLatencyMs, reusedTokens, preemptions, kvBytes, ...others } = wire;
    const { draftedTokens, acceptedTokens, ...rest } = others;
    const counts = { reusedTokens, preemptions, draftedTokens, acceptedTokens };
    const metrics = { queueTimeMs, interTokenLatencyMs, ...counts, kvBytes };
    const result = { ...rest, usage: { promptTokens, completionTokens }, metrics };
    if (!this.#isEnded) this.#onEnd(result);
    this.#isEnded = true;
    this.#result.resolve(result);
    this.#wakeReader?.();
  };

  onError = (error: KittyError): void => {
    if (!this.#isEnded) this.#onEnd(error);
    this.#isEnded = true;
    this.#error = error;
    this.#result.reject(error);
    this.#wakeReader?.();
  };

  async #next(): Promise<IteratorResult<GenerationChunk, undefined>> {
    while (!this.#isCancelled) {
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) {
        if (!this.#isDraining) this.#readTokens += chunk.tokens;
        this.#refill();
        return { done: false, value: chunk };
      }
      if (this.#error !== undefined) throw this.#error;
      if (this.#isEnded) break;
      await new Promise<void>((resolve) => (this.#wakeReader = resolve));
      this.#wakeReader = undefined;
    }
    return { done: true, value: undefined };
  }

  /** Cancelled before it was sent: the worker need not even begin. */
  async #endUnstarted(session: string): Promise<void> {
    try {
      const kvCache = await this.#client.memory(session);
      const tokens = { promptTokens: 0, completionTokens: 0, reusedTokens: 0, draftedTokens: 0, acceptedTokens: 0 };
      const times = { timeToFirstTokenMs: null, tokensPerSecond: null, queueTimeMs: null, interTokenLatencyMs: null };
      const kvBytes = kvCache.packedBytes + kvCache.fullPrecisionBytes;
      this.onResult({ text: "", finishReason: "cancelled", ...tokens, preemptions: 0, ...times, kvBytes, kvCache });
    } catch (error) {
      this.onError(error as KittyError);
    }
  }

  #refill(): void {
    if (this.#readTokens < REFILL_TOKENS || this.#isEnded || this.#isCancelled) return;
    this.#tell(this.#client.credit(this.#id, this.#readTokens));
    this.#readTokens = 0;
  }

  /** A message that fails leaves the worker not knowing what we want, so the stream fails with it. */
  #tell(message: Promise<unknown>): void {
    message.catch((error: unknown) => {
      if (!this.#isEnded) this.onError(error as KittyError);
    });
  }
}
