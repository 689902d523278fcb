import type { GenerationResult } from "../../orchestrator/generation-stream.js";
import type { Session } from "../../orchestrator/session.js";
import type { ChatLogprobs, CompletionLogprobs } from "../wire/openai-answers.js";

type TokenLogprob = NonNullable<GenerationResult["logprobs"]>[number];

export interface NamedLogprob {
  text: string;
  logprob: number;
  top: { text: string; logprob: number }[];
}

/** Log probabilities by the tokens' texts, in place of their numbers. */
export async function nameTokens(session: Session, logprobs: readonly TokenLogprob[]): Promise<NamedLogprob[]> {
  const ids = [...new Set(logprobs.flatMap(({ token, top }) => [token, ...top.map(([id]) => id)]))];
  const texts = await session.tokenTexts(ids);
  const names = new Map(ids.map((id, index) => [id, texts[index] ?? ""]));
  const nameOf = (id: number): string => names.get(id) ?? "";
  return logprobs.map(({ token, logprob, top }) => ({
    text: nameOf(token),
    logprob,
    top: top.map(([id, value]) => ({ text: nameOf(id), logprob: value })),
  }));
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
