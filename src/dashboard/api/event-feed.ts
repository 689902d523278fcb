import type { Event, EventPage } from "../../server/wire/events.js";
import { ApiError, call } from "./client.js";
import { token } from "./token.js";

/** live: pushed to us; polling: asked for, as WebSockets do not get through; offline: nobody answers. */
export type Connection = "connecting" | "live" | "polling" | "offline";

const POLL_MS = 2000;
const PROBE_MS = 15_000;
const RETRY_SOCKET_MS = 30_000;
const LONGEST_WAIT_MS = 10_000;
/** A WebSocket that opens later than this does not get through. */
const OPEN_TIMEOUT_MS = 5000;

export interface FeedOptions {
  onEvent: (event: Event) => void;
  onConnection: (connection: Connection) => void;
  /** The server has another log by now, whose numbers mean something else. */
  onReset: () => void;
}

/**
 * All events after a number, each once and in order, however the network behaves: over one WebSocket, or by asking where
 * that does not get through. What was missed is asked for by the number of the last one that came.
 */
export class EventFeed {
  readonly #options: FeedOptions;
  #seq: number;
  #socket: WebSocket | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #probe: ReturnType<typeof setInterval> | undefined;
  #failures = 0;
  #socketRefusedAt = -Infinity;
  #isPolling = false;
  #isClosed = false;

  constructor(since: number, options: FeedOptions) {
    this.#seq = since;
    this.#options = options;
    options.onConnection("connecting");
    this.#probe = setInterval(() => void this.check(), PROBE_MS);
    this.#connect();
  }

  get seq(): number {
    return this.#seq;
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    clearInterval(this.#probe);
    this.#dropSocket();
  }

  /**
   * A connection that died while the machine slept looks alive, so the server is asked how far it is. Called now and
   * then, and when the page is shown again.
   */
  async check(): Promise<void> {
    if (this.#isClosed || this.#isPolling) return;
    if (this.#socket?.readyState !== WebSocket.OPEN) {
      if (this.#timer !== undefined) this.#retryAfter(0);
      return;
    }
    const socket = this.#socket;
    const before = this.#seq;
    try {
      const since = `since=${String(before)}&limit=1`;
      const { latest } = await call<EventPage>(`/api/events?${since}`, { signal: AbortSignal.timeout(8000) });
      if (latest <= this.#seq) return;
      await new Promise((resolve) => setTimeout(resolve, 3000));
      const isStuck = this.#seq === before && this.#socket === socket;
      if (isStuck) this.#reconnect();
    } catch {
      if (this.#socket === socket) this.#reconnect();
    }
  }

  #connect(): void {
    if (this.#isClosed) return;
    if (performance.now() - this.#socketRefusedAt < RETRY_SOCKET_MS) {
      void this.#poll();
      return;
    }
    const url = `${location.origin.replace(/^http/, "ws")}/api/events?since=${String(this.#seq)}`;
    // The token as a protocol's name: an address would be logged on the way.
    const socket = new WebSocket(url, ["kitty-kv.events", `kitty-kv.token.${toBase64Url(token.value ?? "")}`]);
    this.#socket = socket;
    const timeout = setTimeout(() => {
      socket.close();
    }, OPEN_TIMEOUT_MS);
    let isOpen = false;
    socket.onopen = () => {
      clearTimeout(timeout);
      isOpen = true;
      this.#failures = 0;
      this.#options.onConnection("live");
    };
    socket.onmessage = ({ data }) => {
      this.#take(JSON.parse(String(data)) as Event);
    };
    socket.onclose = () => {
      clearTimeout(timeout);
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      if (isOpen) this.#retryAfter(0);
      else void this.#findOut();
    };
  }

  /** A WebSocket does not say why it failed, so plain HTTP is asked: is nobody there, or does only this not get through? */
  async #findOut(): Promise<void> {
    try {
      await this.#read();
      this.#socketRefusedAt = performance.now();
      this.#options.onConnection("polling");
      this.#retryAfter(POLL_MS);
    } catch (error) {
      this.#fail(error);
    }
  }

  async #poll(): Promise<void> {
    if (this.#isPolling) return;
    this.#isPolling = true;
    try {
      await this.#read();
      this.#failures = 0;
      this.#options.onConnection("polling");
      this.#retryAfter(POLL_MS);
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#isPolling = false;
    }
  }

  /** Takes all that came after the last one. */
  async #read(): Promise<void> {
    let isBehind = true;
    while (isBehind && !this.#isClosed) {
      const page = await call<EventPage>(`/api/events?since=${String(this.#seq)}`, {
        signal: AbortSignal.timeout(10_000),
      });
      for (const event of page.events) this.#take(event);
      isBehind = page.events.length > 0 && page.next < page.latest;
    }
  }

  #take(event: Event): void {
    // After a resume the server may repeat what another way has brought already.
    if (event.seq <= this.#seq || this.#isClosed) return;
    this.#seq = event.seq;
    this.#options.onEvent(event);
  }

  #fail(error: unknown): void {
    if (this.#isClosed || (error instanceof ApiError && error.status === 401)) return;
    if (error instanceof ApiError && error.code === "since_beyond_latest") {
      this.#options.onReset();
      return;
    }
    this.#options.onConnection("offline");
    this.#failures += 1;
    this.#retryAfter(Math.min(LONGEST_WAIT_MS, 500 * 2 ** this.#failures));
  }

  #reconnect(): void {
    this.#dropSocket();
    this.#options.onConnection("connecting");
    this.#retryAfter(0);
  }

  #retryAfter(milliseconds: number): void {
    if (this.#isClosed) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#connect();
    }, milliseconds);
  }

  #dropSocket(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    if (socket === undefined) return;
    socket.onmessage = null;
    socket.close();
  }
}

function toBase64Url(text: string): string {
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}
