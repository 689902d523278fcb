import { ConfigError, UnsupportedError } from "../../errors.js";
import type { GenerateOptions } from "../../orchestrator/generate-input.js";
import type { Session } from "../../orchestrator/session.js";
import type { GenerateInput } from "../generations.js";
import type { ChatRequest, CompletionRequest } from "../wire/openai-requests.js";

type Sampling = Omit<GenerateOptions, "signal">;

// OpenAI's, where a completion says nothing.
const COMPLETION_TOKENS = 16;

/** @throws UnsupportedError for what would change the text and is not here */
export function readCompletion(body: CompletionRequest): { inputs: string[]; sampling: Sampling } {
  refuseCommon(body);
  if (body.suffix !== undefined && body.suffix !== null) throw unsupported("suffix", "leave it out");
  if ((body.best_of ?? 1) > (body.n ?? 1)) throw unsupported("best_of", "leave it out and choose among n");
  if (body.echo === true && typeof body.logprobs === "number") {
    throw unsupported("echo together with logprobs", "leave one of them out");
  }
  const inputs = typeof body.prompt === "string" ? [body.prompt] : body.prompt;
  return { inputs, sampling: readSampling(body, body.max_tokens ?? COMPLETION_TOKENS, body.logprobs ?? undefined) };
}

/** @throws UnsupportedError for what would change the text and is not here; ConfigError */
export function readChat(body: ChatRequest, model: Session["model"]): { input: GenerateInput; sampling: Sampling } {
  refuseCommon(body);
  if ((body.tools ?? []).length > 0) throw unsupported("tools", "describe them in a message");
  const format = body.response_format?.type ?? "text";
  if (format !== "text") throw unsupported(`response_format ${JSON.stringify(format)}`, 'use type "text"');
  if (typeof body.top_logprobs === "number" && body.logprobs !== true) {
    throw new ConfigError("Cannot generate: top_logprobs needs logprobs to be true", {
      details: { path: "top_logprobs" },
    });
  }
  const maxNewTokens = body.max_completion_tokens ?? body.max_tokens ?? model.contextLength;
  const logprobs = body.logprobs === true ? (body.top_logprobs ?? 0) : undefined;
  return { input: toInput(body.messages, model), sampling: readSampling(body, maxNewTokens, logprobs) };
}

/** The choices of a request are sampled with seeds that follow each other. */
export function withSeed(sampling: Sampling, index: number): Sampling {
  return sampling.seed === undefined ? sampling : { ...sampling, seed: sampling.seed + index };
}

/** A model without a chat template only goes on from a text, so messages are lines of one, as in `kitty-kv chat`. */
function toInput(messages: ChatRequest["messages"], model: Session["model"]): GenerateInput {
  const plain = messages.map(({ role, content }) => ({
    role: role === "developer" ? ("system" as const) : role,
    content: typeof content === "string" ? content : content.map(({ text }) => text).join(""),
  }));
  return model.chatTemplate ? plain : plain.map(({ content }) => content).join("\n");
}

function readSampling(
  body: Pick<CompletionRequest, "temperature" | "top_p" | "top_k" | "min_p" | "repetition_penalty" | "seed" | "stop">,
  maxNewTokens: number,
  logprobs: number | undefined,
): Sampling {
  const { stop } = body;
  return {
    maxNewTokens,
    logprobs,
    temperature: body.temperature ?? 1,
    topP: body.top_p ?? undefined,
    topK: body.top_k ?? undefined,
    minP: body.min_p ?? undefined,
    repetitionPenalty: body.repetition_penalty ?? undefined,
    seed: body.seed ?? undefined,
    stop: typeof stop === "string" ? [stop] : (stop ?? []),
  };
}

function refuseCommon(
  body: Pick<CompletionRequest, "presence_penalty" | "frequency_penalty" | "logit_bias" | "stream" | "stream_options">,
): void {
  if ((body.presence_penalty ?? 0) !== 0) throw unsupported("presence_penalty", "use repetition_penalty");
  if ((body.frequency_penalty ?? 0) !== 0) throw unsupported("frequency_penalty", "use repetition_penalty");
  if (Object.keys(body.logit_bias ?? {}).length > 0) throw unsupported("logit_bias", "leave it out");
  if (body.stream_options !== undefined && body.stream_options !== null && body.stream !== true) {
    throw new ConfigError("Cannot generate: stream_options needs stream to be true", {
      details: { path: "stream_options" },
    });
  }
}

function unsupported(what: string, remedy: string): UnsupportedError {
  return new UnsupportedError(`Cannot generate with ${what}: it is not supported, ${remedy}`, {
    details: { path: what.split(" ")[0] ?? what },
  });
}
