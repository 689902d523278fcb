import type { WorkerExitedError } from "../errors.js";
import type { TokenLogprob } from "./messages.js";
import { openEnvelope, type Outcome } from "./envelope.js";

// Far above any tokenizer's longest token; it bounds what a worker can make us hold.
const MAX_CHARS_PER_TOKEN = 4096;

/** Text, and how many tokens it stands for. */
export interface StreamedTokens {
  text: string;
  tokens: number;
  /** One a token, where they were asked for. */
  logprobs?: TokenLogprob[] | undefined;
}

export interface StreamListener {
  onTokens: (text: string, tokens: number, logprobs?: TokenLogprob[]) => void;
  onEnd: (outcome: Outcome) => void;
  onWorkerExit: (error: WorkerExitedError) => void;
}

interface OpenStream {
  readonly listener: StreamListener;
  credit: number;
  charCredit: number;
}

/** The token streams a worker may send events for; every method that takes an event returns why it is refused, if it is. */
export class StreamTable {
  readonly #streams = new Map<string, OpenStream>();

  open(id: string, listener: StreamListener, credit: number): void {
    this.#streams.set(id, { listener, credit: 0, charCredit: MAX_CHARS_PER_TOKEN });
    this.grant(id, credit);
  }

  grant(id: string, tokens: number): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    stream.credit += tokens;
    stream.charCredit += tokens * MAX_CHARS_PER_TOKEN;
  }

  /** Forgets a stream that the worker did not accept. */
  discard(id: string): void {
    this.#streams.delete(id);
  }

  takeTokens(id: string, { text, tokens, logprobs }: StreamedTokens): string | undefined {
    const stream = this.#streams.get(id);
    if (stream === undefined) return `tokens for stream ${JSON.stringify(id)}, which is not open`;
    stream.credit -= tokens;
    stream.charCredit -= text.length;
    if (stream.credit < 0) return `more tokens than stream ${JSON.stringify(id)} had credit for`;
    if (stream.charCredit < 0) return `more text than stream ${JSON.stringify(id)} had credit for`;
    stream.listener.onTokens(text, tokens, logprobs);
    return undefined;
  }

  takeEnd(id: string, value: unknown): string | undefined {
    const stream = this.#streams.get(id);
    if (stream === undefined) return `the end of stream ${JSON.stringify(id)}, which is not open`;
    const outcome = openEnvelope(value);
    if (outcome === undefined) return `an end of stream ${JSON.stringify(id)} with neither result nor error`;
    this.#streams.delete(id);
    stream.listener.onEnd(outcome);
    return undefined;
  }

  failAll(error: WorkerExitedError): void {
    const streams = [...this.#streams.values()];
    this.#streams.clear();
    for (const { listener } of streams) listener.onWorkerExit(error);
  }
}
