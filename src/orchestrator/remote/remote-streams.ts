import type { IncomingMessage } from "node:http";
import type { GenerationListener } from "../../bridge/worker-client.js";
import { KittyError } from "../../errors.js";
import { generationEventSchema } from "../session-schemas.js";
import { fromErrorObject } from "./from-http-error.js";
import type { HttpClient } from "./http-client.js";
import { readEvents } from "./read-events.js";

interface Stream {
  /** How many more tokens its reader wants to hear of. */
  credit: number;
  wake: (() => void) | undefined;
}

/** Generations that a server runs: read as fast as their readers go, and no faster. */
export class RemoteStreams {
  readonly #client: HttpClient;
  readonly #streams = new Map<string, Stream>();

  constructor(client: HttpClient) {
    this.#client = client;
  }

  /** Tells a listener of the events of one answer, up to exactly one end. */
  async follow(name: string, credit: number, answer: IncomingMessage, listener: GenerationListener): Promise<void> {
    const stream: Stream = { credit, wake: undefined };
    this.#streams.set(name, stream);
    try {
      for await (const event of readEvents(answer)) {
        const tokens = tell(listener, event);
        if (tokens === undefined) return;
        stream.credit -= tokens;
        while (stream.credit <= 0) await new Promise<void>((resolve) => (stream.wake = resolve));
      }
      throw new Error("the connection ended before the generation did");
    } catch (error) {
      listener.onError(this.#client.lost(error));
    } finally {
      answer.destroy();
      this.#streams.delete(name);
    }
  }

  grant(name: string, tokens: number): void {
    const stream = this.#streams.get(name);
    if (stream === undefined) return;
    stream.credit += tokens;
    stream.wake?.();
  }
}

/** @returns how many tokens it brought, or undefined for the end */
function tell(listener: GenerationListener, text: string): number | undefined {
  const { data: event } = generationEventSchema.safeParse(JSON.parse(text));
  if (event === undefined) {
    throw new KittyError("Cannot go on: the server sent an event that is not one of Kitty KV's API", {
      code: "invalid_answer",
    });
  }
  if ("text" in event) {
    listener.onTokens(event.text, event.tokens, event.logprobs);
    return event.tokens;
  }
  if ("error" in event) listener.onError(fromErrorObject(event.error));
  else {
    const { usage, metrics, ...rest } = event.result;
    listener.onResult({ ...rest, ...usage, ...metrics });
  }
  return undefined;
}
