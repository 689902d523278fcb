import type { Duplex } from "node:stream";
import type { WebSocket } from "ws";
import type { EventLog } from "../job/event-log.js";
import { followLog, textOf, type EventFilter } from "./follow-log.js";

const FULL_BYTES = 2 ** 18;
const HEARTBEAT_MS = 15_000;
// One that reads again finds what it was sent, and then why no more comes.
const SLOW_FAREWELL_MS = 15_000;
/** The close code for a client that does not read. */
const TOO_SLOW = 4008;

export interface FollowerOptions extends EventFilter {
  /** What is below the WebSocket. */
  connection: Duplex;
  since: number;
  /** How long it may read nothing. */
  stallTimeoutMs: number;
  onDefect: (error: unknown) => void;
}

/**
 * One client of the event log. Events wait in the log until the client has read those before them, so a slow one costs no
 * memory; one that does not read at all is told the number to come back with.
 */
export class EventFollower {
  readonly #socket: WebSocket;
  readonly #connection: Duplex;
  readonly #heartbeat: NodeJS.Timeout;
  readonly #gone = new AbortController();
  #isAlive = true;

  constructor(socket: WebSocket, log: EventLog, { connection, onDefect, ...options }: FollowerOptions) {
    this.#socket = socket;
    this.#connection = connection;
    this.#heartbeat = setInterval(() => {
      this.#beat();
    }, HEARTBEAT_MS);
    socket.on("pong", () => (this.#isAlive = true));
    socket.on("error", () => undefined);
    socket.once("close", () => {
      this.#stop();
    });
    this.#run(log, options).catch((error: unknown) => {
      onDefect(error);
      this.close(1011, "the server has a defect here");
    });
  }

  /** @param waitMs for how long a client may leave the farewell unanswered */
  close(code: number, reason: string, waitMs = 1000): void {
    this.#socket.close(code, reason);
    const timer = setTimeout(() => {
      this.#socket.terminate();
    }, waitMs).unref();
    this.#socket.once("close", () => {
      clearTimeout(timer);
    });
  }

  async #run(
    log: EventLog,
    { stallTimeoutMs, ...options }: Omit<FollowerOptions, "connection" | "onDefect">,
  ): Promise<void> {
    for await (const { events, seq } of followLog(log, { ...options, signal: this.#gone.signal })) {
      // One write for all of them.
      this.#connection.cork();
      for (const event of events) this.#socket.send(textOf(event));
      this.#connection.uncork();
      if (this.#socket.bufferedAmount > FULL_BYTES && !(await this.#drained(stallTimeoutMs))) {
        this.close(TOO_SLOW, `too slow: come back with since=${String(seq)} at most`, SLOW_FAREWELL_MS);
        return;
      }
    }
  }

  /** @returns false when the client has read nothing for too long */
  async #drained(limitMs: number): Promise<boolean> {
    let [least, since] = [this.#socket.bufferedAmount, performance.now()];
    while (!this.#gone.signal.aborted && this.#socket.bufferedAmount > FULL_BYTES / 2) {
      if (this.#socket.bufferedAmount < least) {
        [least, since] = [this.#socket.bufferedAmount, performance.now()];
      } else if (performance.now() - since > limitMs) return false;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return true;
  }

  #beat(): void {
    if (!this.#isAlive) {
      this.#socket.terminate();
      return;
    }
    this.#isAlive = false;
    this.#socket.ping();
  }

  #stop(): void {
    clearInterval(this.#heartbeat);
    this.#gone.abort();
  }
}
