import { z } from "zod";
import { tokenLogprobSchema, type TokenLogprob } from "./messages.js";

export const helloSchema = z.object({
  protocol: z.literal(1),
  version: z.string(),
  pid: z.number().int().positive(),
  python: z.string(),
});
export const readySchema = z.object({ torch: z.string(), transformers: z.string(), device: z.string() });
const logprobsSchema = z.array(tokenLogprobSchema);
const logSchema = z.object({ stream: z.enum(["stdout", "worker"]), text: z.string() });

export type WorkerHello = z.output<typeof helloSchema>;
export type WorkerReady = z.output<typeof readySchema>;

export type WorkerEvent =
  | { kind: "tok"; stream: string; text: string; tokens: number; logprobs?: TokenLogprob[] }
  | { kind: "end"; stream: string; outcome: unknown }
  | { kind: "settled"; ticket: number; outcome: unknown }
  | { kind: "hello"; hello: WorkerHello }
  | { kind: "ready"; ready: WorkerReady }
  | { kind: "log"; stream: "stdout" | "worker"; text: string }
  | { kind: "invalid" };

const INVALID: WorkerEvent = { kind: "invalid" };

/** Checks one event array. Token events come by the ten thousand a second and are checked by hand, the others by schema. */
export function parseEvent(event: unknown): WorkerEvent {
  if (!Array.isArray(event)) return INVALID;
  const [kind, first, second, third, fourth] = event as unknown[];
  switch (kind) {
    case "tok":
      if (typeof first !== "string" || typeof second !== "string" || !isCount(third)) return INVALID;
      if (event.length === 4) return { kind, stream: first, text: second, tokens: third };
      return event.length === 5 ? withLogprobs({ kind, stream: first, text: second, tokens: third }, fourth) : INVALID;
    case "end":
      return event.length === 3 && typeof first === "string" ? { kind, stream: first, outcome: second } : INVALID;
    case "settled":
      return event.length === 3 && isCount(first) ? { kind, ticket: first, outcome: second } : INVALID;
    default:
      return event.length === 2 ? parseRareEvent(kind, first) : INVALID;
  }
}

/** One entry a token: a worker that sends more makes us hold more than there is credit for. */
function withLogprobs(event: WorkerEvent & { kind: "tok" }, value: unknown): WorkerEvent {
  if (!Array.isArray(value) || value.length !== event.tokens) return INVALID;
  const { data: logprobs } = logprobsSchema.safeParse(value);
  return logprobs === undefined ? INVALID : { ...event, logprobs };
}

function parseRareEvent(kind: unknown, body: unknown): WorkerEvent {
  if (kind === "hello") {
    const { data } = helloSchema.safeParse(body);
    return data === undefined ? INVALID : { kind, hello: data };
  }
  if (kind === "ready") {
    const { data } = readySchema.safeParse(body);
    return data === undefined ? INVALID : { kind, ready: data };
  }
  if (kind === "log") {
    const { data } = logSchema.safeParse(body);
    return data === undefined ? INVALID : { kind, ...data };
  }
  return INVALID;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
