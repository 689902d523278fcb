import { z } from "zod";

export const helloSchema = z.object({
  protocol: z.literal(1),
  version: z.string(),
  pid: z.number().int().positive(),
  python: z.string(),
});
export const readySchema = z.object({ torch: z.string(), transformers: z.string(), device: z.string() });
const logSchema = z.object({ stream: z.enum(["stdout", "worker"]), text: z.string() });

export type WorkerHello = z.output<typeof helloSchema>;
export type WorkerReady = z.output<typeof readySchema>;

export type WorkerEvent =
  | { kind: "tok"; stream: string; text: string; tokens: number }
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
  const [kind, first, second, third] = event as unknown[];
  switch (kind) {
    case "tok":
      if (event.length !== 4 || typeof first !== "string" || typeof second !== "string" || !isCount(third))
        return INVALID;
      return { kind, stream: first, text: second, tokens: third };
    case "end":
      return event.length === 3 && typeof first === "string" ? { kind, stream: first, outcome: second } : INVALID;
    case "settled":
      return event.length === 3 && isCount(first) ? { kind, ticket: first, outcome: second } : INVALID;
    default:
      return event.length === 2 ? parseRareEvent(kind, first) : INVALID;
  }
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
