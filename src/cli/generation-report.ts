import type { GenerationResult } from "../index.js";

/** The document that `generate --json` prints. */
export function toDocument({ usage, ...rest }: GenerationResult) {
  const { text, finishReason, timeToFirstTokenMs, tokensPerSecond, kvCache } = rest;
  return {
    text,
    finishReason,
    promptTokens: usage.promptTokens,
    completionTokens: usage.completionTokens,
    timeToFirstTokenMs,
    tokensPerSecond,
    kvCache,
  };
}

/** The same for a person, in one line. */
export function toSentence({
  usage,
  finishReason,
  tokensPerSecond,
  timeToFirstTokenMs,
  kvCache,
}: GenerationResult): string {
  const parts = [
    `${String(usage.promptTokens)} + ${String(usage.completionTokens)} tokens (${finishReason})`,
    ...(timeToFirstTokenMs === null ? [] : [`first after ${timeToFirstTokenMs.toFixed(0)} ms`]),
    ...(tokensPerSecond === null ? [] : [`${tokensPerSecond.toFixed(1)} tokens/s`]),
    `${kvCache.preset ?? "custom"} cache of ${String(kvCache.tokens)} tokens: ${cacheSize(kvCache)}`,
  ];
  return parts.join(" · ");
}

function cacheSize(kvCache: GenerationResult["kvCache"]): string {
  const bytes = kvCache.packedBytes + kvCache.fullPrecisionBytes;
  return `${kib(bytes)} KiB instead of ${kib(kvCache.denseBytes)} (${kvCache.compression.toFixed(2)}x)`;
}

function kib(bytes: number): string {
  return (bytes / 1024).toFixed(bytes < 10_240 ? 1 : 0);
}
