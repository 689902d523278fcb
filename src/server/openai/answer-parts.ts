import { randomUUID } from "node:crypto";
import type { Context } from "../endpoint.js";
import { toKittyError } from "../error-status.js";
import { EventStream } from "../event-stream.js";
import { errorBody } from "../send-error.js";
import type { Services } from "../services.js";
import type { Usage } from "../wire/openai-answers.js";
import type { FinishedChoice } from "./run-choices.js";

/** What every answer and every chunk of one request begins with. */
export interface Head {
  id: string;
  created: number;
  model: string;
  system_fingerprint: string;
}

export function newHead(prefix: string, model: string, { version }: Services): Head {
  return {
    id: `${prefix}-${randomUUID()}`,
    created: Math.floor(Date.now() / 1000),
    model,
    system_fingerprint: `kitty-kv-${version}`,
  };
}

/** A prompt counts once, however many texts were written for it. */
export function usageOf(choices: readonly FinishedChoice[], choicesPerPrompt: number): Usage {
  const first = choices.filter(({ index }) => index % choicesPerPrompt === 0);
  const prompt = sum(first.map(({ result }) => result.usage.promptTokens));
  const completion = sum(choices.map(({ result }) => result.usage.completionTokens));
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: sum(first.map(({ result }) => result.metrics.reusedTokens)) },
  };
}

/** A cancelled choice never gets this far. */
export function finishReasonOf({ result }: FinishedChoice): "stop" | "length" {
  return result.finishReason === "stop" ? "stop" : "length";
}

/** Answers with events up to `[DONE]`; what fails after the first one is an event too, since the status is out. */
export async function answerWithEvents(
  { response, signal, request }: Context,
  work: (send: (event: unknown) => Promise<void>) => Promise<void>,
): Promise<void> {
  const events = new EventStream(response, signal);
  try {
    await work((event) => events.send(JSON.stringify(event)));
    await events.send("[DONE]");
  } catch (error) {
    if (!events.isStarted) throw error;
    await events.send(JSON.stringify(errorBody(toKittyError(error), request.path)));
  }
  events.end();
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
