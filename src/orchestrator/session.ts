import { resolve } from "node:path";
import type { CacheDescription, ChatMessage, KvCacheMemory, ModelDescription } from "../bridge/messages.js";
import { WorkerExitedError, type KittyError } from "../errors.js";
import { checkGenerateInput, checkGenerateOptions, type CheckedInput, type GenerateOptions } from "./generate-input.js";
import type { SessionClient } from "./session-client.js";
import { CREDIT_WINDOW_TOKENS, GenerationStream, type GenerationResult } from "./generation-stream.js";

// A long conversation's cache has gigabytes, and a cluster's disk is slow at times.
const SAVE_TIMEOUT_MS = 600_000;

export interface SessionInfo {
  id: string;
  model: ModelDescription;
  /** The cache's whole configuration, as the worker resolved it. */
  cache: CacheDescription;
}

/** Whoever opened a session. */
export interface SessionOwner {
  /** Opens another one with the same history beside it. */
  fork: (session: Session, options: { signal?: AbortSignal | undefined }) => Promise<Session>;
  /** @returns what hears of the generation's end before anybody else */
  onGeneration: (session: Session, generation: string) => (outcome: GenerationResult | KittyError) => void;
  onClose: (session: Session) => void;
}

/** One conversation with one model: its tokens and their KV cache stay in the worker between generations. */
export class Session implements AsyncDisposable {
  readonly id: string;
  readonly model: ModelDescription;
  readonly cache: CacheDescription;
  readonly #client: SessionClient;
  readonly #owner: SessionOwner;
  #previous: GenerationStream | undefined;
  #streamCount = 0;
  #closing: Promise<void> | undefined;

  constructor(info: SessionInfo, client: SessionClient, owner: SessionOwner) {
    this.id = info.id;
    this.model = info.model;
    this.cache = info.cache;
    this.#client = client;
    this.#owner = owner;
  }

  /**
   * Goes on from a text, appended as it is, or from the turns of a conversation.
   * @throws ConfigError at once for wrong input; what goes wrong later comes from the stream
   * @example for await (const chunk of session.generate("Once upon a time")) process.stdout.write(chunk.text);
   */
  generate(input: string | readonly ChatMessage[], options: GenerateOptions = {}): GenerationStream {
    return this.#start(checkGenerateInput(input), options);
  }

  /**
   * Goes on writing the text that a generation before was cancelled in, here or in the file that this session comes from.
   * @throws ConfigError from the stream, `empty_prompt` when there is none
   */
  resume(options: GenerateOptions = {}): GenerationStream {
    return this.#start({ prompt: "", messages: null }, options);
  }

  #start(checkedInput: CheckedInput, { signal, ...sampling }: GenerateOptions): GenerationStream {
    const checkedOptions = checkGenerateOptions(sampling);
    const id = `${this.id}-${String(++this.#streamCount)}`;
    const stream = new GenerationStream(id, this.#client, this.#owner.onGeneration(this, id));
    const params = {
      session: this.id,
      stream: id,
      ...checkedInput,
      options: checkedOptions,
      credit: CREDIT_WINDOW_TOKENS,
    };
    if (signal !== undefined) cancelOnAbort(stream, signal);
    void stream.start(params, this.#previous);
    this.#previous = stream;
    return stream;
  }

  /** What the session's KV cache holds now. */
  memory(options: { signal?: AbortSignal } = {}): Promise<KvCacheMemory> {
    return this.#client.memory(this.id, options);
  }

  /** Each token's text by itself, such as those of `logprobs`; a part of a character becomes U+FFFD. */
  tokenTexts(tokens: readonly number[]): Promise<string[]> {
    return this.#client.tokenTexts(this.id, tokens);
  }

  /**
   * Writes the cache, the text and the turns to a file, from which `sessions.open({ saved })` goes on, here or elsewhere.
   * @throws KittyError `session_busy` while a generation runs, `cache_file` when the folder refuses it
   */
  async save(path: string, options: { signal?: AbortSignal } = {}): Promise<void> {
    await this.#client.saveSession(this.id, resolve(path), { timeoutMs: SAVE_TIMEOUT_MS, ...options });
  }

  /**
   * Another session that goes on from here on its own; the caches share their memory until they part.
   * @throws KittyError `session_busy` while a generation runs, NotFoundError when this session is closed
   * @example await using copy = await session.fork();
   */
  async fork(options: { signal?: AbortSignal } = {}): Promise<Session> {
    return await this.#owner.fork(this, options);
  }

  /** Cancels what runs and frees the cache; does nothing when the worker is gone or it was closed before. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#owner.onClose(this);
    try {
      await this.#client.closeSession(this.id);
    } catch (error) {
      // A worker that is gone has freed everything already.
      if (!(error instanceof WorkerExitedError)) throw error;
    }
  }
}

function cancelOnAbort(stream: GenerationStream, signal: AbortSignal): void {
  const cancel = (): void => void stream.cancel();
  if (signal.aborted) cancel();
  signal.addEventListener("abort", cancel, { once: true });
  void stream.ended().then(() => {
    signal.removeEventListener("abort", cancel);
  });
}
