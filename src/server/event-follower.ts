import type { WebSocket } from "ws";
import type { EventTopic } from "../job/event.js";
import type { EventLog } from "../job/event-log.js";
import { followLog } from "./follow-log.js";

const FULL_BYTES = 2 ** 18;
const HEARTBEAT_MS = 15_000;
const SLOWEST_MS = 30_000;
/** The close code for a client that does not read. */
const TOO_SLOW = 4008;

export interface FollowOptions {
  since: number;
  /** undefined is all of them. */
  topics: ReadonlySet<EventTopic> | undefined;
  onDefect: (error: unknown) => void;
}

/**
 * One client of the event log. Events wait in the log until the client has read those before them, so a slow one costs no
 * memory; one that does not read at all is told the number to come back with.
 */
export class EventFollower {
  readonly #socket: WebSocket;
  readonly #heartbeat: NodeJS.Timeout;
  readonly #gone = new AbortController();
  #isAlive = true;

  constructor(socket: WebSocket, log: EventLog, { onDefect, ...options }: FollowOptions) {
    this.#socket = socket;
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

  close(code: number, reason: string): void {
    this.#socket.close(code, reason);
    // A client that does not answer the farewell is not waited for.
    setTimeout(() => {
      this.#socket.terminate();
    }, 1000).unref();
  }

  async #run(log: EventLog, options: Omit<FollowOptions, "onDefect">): Promise<void> {
    for await (const { events, seq } of followLog(log, { ...options, signal: this.#gone.signal })) {
      for (const event of events) this.#socket.send(JSON.stringify(event));
      if (this.#socket.bufferedAmount > FULL_BYTES && !(await this.#drained())) {
        this.close(TOO_SLOW, `too slow: come back with since=${String(seq)} at most`);
        return;
      }
    }
  }

  /** @returns false when the client has read nothing for too long */
  async #drained(): Promise<boolean> {
    const deadline = performance.now() + SLOWEST_MS;
    while (!this.#gone.signal.aborted && this.#socket.bufferedAmount > FULL_BYTES / 2) {
      if (performance.now() > deadline) return false;
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
