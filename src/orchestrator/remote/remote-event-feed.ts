import { setTimeout as sleep } from "node:timers/promises";
import type { KittyEvent } from "../../job/event.js";
import type { EventFeed, SubscribeOptions } from "../../job/event-log.js";
import { eventPageSchema, eventSchema } from "../../job/event-schemas.js";
import { KittyError } from "../../errors.js";
import type { HttpClient } from "./http-client.js";
import { readEvents } from "./read-events.js";

const PATH = "/api/events";
// The server says at least every 15 s that it lives.
const SILENCE_MS = 45_000;
const FIRST_WAIT_MS = 100;
const LONGEST_WAIT_MS = 2000;
/** How long a server may be gone before it counts as gone for good. */
const GIVE_UP_MS = 60_000;

interface Follower extends Pick<SubscribeOptions, "onError"> {
  controller: AbortController;
}

export interface RemoteEventFeedOptions {
  /** @default 60 s */
  giveUpMs?: number | undefined;
}

/** The event log of a server. A broken connection is made anew and goes on behind the last event that came. */
export class RemoteEventFeed implements EventFeed {
  readonly #client: HttpClient;
  readonly #giveUpMs: number;
  readonly #followers = new Set<Follower>();

  constructor(client: HttpClient, { giveUpMs = GIVE_UP_MS }: RemoteEventFeedOptions = {}) {
    this.#client = client;
    this.#giveUpMs = giveUpMs;
  }

  async latest(): Promise<number> {
    return (await this.#client.call(`${PATH}?limit=1`, eventPageSchema)).latest;
  }

  async page(since: number, limit = 500): Promise<KittyEvent[]> {
    const path = `${PATH}?since=${String(since)}&limit=${String(limit)}`;
    return (await this.#client.call(path, eventPageSchema)).events;
  }

  subscribe(since: number, listener: (event: KittyEvent) => void, options: SubscribeOptions = {}): () => void {
    const follower = { controller: new AbortController(), onError: options.onError };
    this.#followers.add(follower);
    const stop = (): void => {
      follower.controller.abort();
      this.#followers.delete(follower);
    };
    this.#follow(since, options.id, listener, follower.controller.signal).catch((error: unknown) => {
      if (follower.controller.signal.aborted) return;
      stop();
      options.onError?.(error);
    });
    return stop;
  }

  /** Tells subscribers that nothing follows. */
  close(): void {
    for (const { controller, onError } of this.#followers) {
      controller.abort();
      onError?.(new KittyError("Cannot follow events any more: this Kitty was closed", { code: "closed" }));
    }
    this.#followers.clear();
  }

  async #follow(
    since: number,
    id: string | undefined,
    listener: (event: KittyEvent) => void,
    signal: AbortSignal,
  ): Promise<void> {
    let [seq, waitMs, heardMs] = [since, FIRST_WAIT_MS, performance.now()];
    while (!signal.aborted) {
      try {
        const path = `${PATH}?since=${String(seq)}${id === undefined ? "" : `&id=${encodeURIComponent(id)}`}`;
        for await (const event of this.#open(path, signal, () => (heardMs = performance.now()))) {
          if (isAborted(signal)) return;
          seq = event.seq;
          waitMs = FIRST_WAIT_MS;
          listener(event);
        }
      } catch (error) {
        const isFinal = !isPassing(error) || performance.now() - heardMs > this.#giveUpMs;
        if (isFinal) throw error;
      }
      await sleep(waitMs, undefined, { signal });
      waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS);
    }
  }

  /** One connection's events; throws `unreachable` when it breaks. */
  async *#open(path: string, signal: AbortSignal, onHeard: () => void): AsyncGenerator<KittyEvent, void> {
    const headers = { accept: "text/event-stream" };
    const answer = await this.#client.open(path, { headers, signal });
    answer.setTimeout(SILENCE_MS, () => answer.destroy(new Error(`it was silent for ${String(SILENCE_MS / 1000)} s`)));
    onHeard();
    try {
      for await (const text of readEvents(answer)) {
        onHeard();
        yield eventSchema.parse(JSON.parse(text));
      }
    } catch (error) {
      throw this.#client.lost(error);
    } finally {
      answer.destroy();
    }
  }
}

/** A listener may have ended its own subscription, which the compiler does not expect. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}

/** What a server that starts anew, or is busy, answers for a while. */
function isPassing(error: unknown): boolean {
  return error instanceof KittyError && ["unreachable", "loading", "rate_limited", "queue_full"].includes(error.code);
}
