import type { WebSocket } from "ws";
import type { EventTopic, KittyEvent } from "../job/event.js";
import type { EventLog } from "../job/event-log.js";

const PAGE = 256;
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
  readonly #log: EventLog;
  readonly #topics: ReadonlySet<EventTopic> | undefined;
  readonly #unsubscribe: () => void;
  readonly #heartbeat: NodeJS.Timeout;
  #seq: number;
  #isAlive = true;
  #isOpen = true;
  #wake: (() => void) | undefined;

  constructor(socket: WebSocket, log: EventLog, { since, topics, onDefect }: FollowOptions) {
    this.#socket = socket;
    this.#log = log;
    this.#topics = topics;
    this.#seq = since;
    this.#unsubscribe = log.subscribe(log.lastSeq, () => this.#wake?.());
    this.#heartbeat = setInterval(() => {
      this.#beat();
    }, HEARTBEAT_MS);
    socket.on("pong", () => (this.#isAlive = true));
    socket.on("error", () => undefined);
    socket.once("close", () => {
      this.#stop();
    });
    this.#run().catch((error: unknown) => {
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

  async #run(): Promise<void> {
    while (this.#isOpen) {
      const events = this.#log.read(this.#seq, PAGE);
      if (events.length === 0) await new Promise<void>((resolve) => (this.#wake = resolve));
      for (const event of events) {
        this.#seq = event.seq;
        if (this.#wants(event)) this.#socket.send(JSON.stringify(event));
      }
      if (this.#socket.bufferedAmount > FULL_BYTES && !(await this.#drained())) {
        this.close(TOO_SLOW, `too slow: come back with since=${String(this.#seq)} at most`);
        return;
      }
    }
  }

  /** A snapshot stands for events of every topic. */
  #wants({ topic, type }: KittyEvent): boolean {
    return this.#topics === undefined || this.#topics.has(topic) || type === "snapshot";
  }

  /** @returns false when the client has read nothing for too long */
  async #drained(): Promise<boolean> {
    const deadline = performance.now() + SLOWEST_MS;
    while (this.#isOpen && this.#socket.bufferedAmount > FULL_BYTES / 2) {
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
    this.#isOpen = false;
    clearInterval(this.#heartbeat);
    this.#unsubscribe();
    this.#wake?.();
  }
}
