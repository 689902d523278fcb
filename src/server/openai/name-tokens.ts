import type { GenerationResult } from "../../orchestrator/generation-stream.js";
import type { Session } from "../../orchestrator/session.js";
import type { ChatLogprobs, CompletionLogprobs } from "../wire/openai-answers.js";

type TokenLogprob = NonNullable<GenerationResult["logprobs"]>[number];

export interface NamedLogprob {
  text: string;
  logprob: number;
  top: { text: string; logprob: number }[];
}

/** Log probabilities by the tokens' texts, in place of their numbers; each text is asked for once. */
export class TokenNames {
  readonly #session: Session;
  readonly #names = new Map<number, string>();

  constructor(session: Session) {
    this.#session = session;
  }

  async name(logprobs: readonly TokenLogprob[]): Promise<NamedLogprob[]> {
    await this.#learn(logprobs.flatMap(({ token, top }) => [token, ...top.map(([id]) => id)]));
    return logprobs.map(({ token, logprob, top }) => ({
      text: this.#nameOf(token),
      logprob,
      top: top.map(([id, value]) => ({ text: this.#nameOf(id), logprob: value })),
    }));
  }

  async #learn(ids: readonly number[]): Promise<void> {
    const unknown = [...new Set(ids)].filter((id) => !this.#names.has(id));
    if (unknown.length === 0) return;
    const texts = await this.#session.tokenTexts(unknown);
    unknown.forEach((id, index) => this.#names.set(id, texts[index] ?? ""));
  }

  #nameOf(id: number): string {
    return this.#names.get(id) ?? "";
  }
}

export function toChatLogprobs(named: readonly NamedLogprob[] | null): ChatLogprobs {
  if (named === null) return null;
  const content = named.map(({ top, ...token }) => ({ ...toToken(token), top_logprobs: top.map(toToken) }));
  return { content, refusal: null };
}

/** @param offset of the first token's text in the whole text */
export function toCompletionLogprobs(named: readonly NamedLogprob[] | null, offset: number): CompletionLogprobs {
  if (named === null) return null;
  const offsets: number[] = [];
  let position = offset;
  for (const { text } of named) {
    offsets.push(position);
    position += text.length;
  }
  return {
    tokens: named.map(({ text }) => text),
    token_logprobs: named.map(({ logprob }) => logprob),
    top_logprobs: named.map(({ top }) => Object.fromEntries(top.map(({ text, logprob }) => [text, logprob]))),
    text_offset: offsets,
  };
}

/** A token that is a part of a character has no text of its own, and its bytes are not known here. */
function toToken({ text, logprob }: { text: string; logprob: number }) {
  return { token: text, logprob, bytes: text.includes("\ufffd") ? null : [...Buffer.from(text)] };
}
