import type { EventTopic, KittyEvent, NewEvent } from "../../job/event.js";
import type { EventLog, SubscribeOptions } from "../../job/event-log.js";
import { KittyError } from "../../errors.js";
import type { Database, Row } from "./database.js";

const PAGE = 500;

interface Subscriber extends SubscribeOptions {
  listener: (event: KittyEvent) => void;
  /** The last event it was told. */
  seq: number;
}

/** The event log in the store's database. */
export class EventTable implements EventLog {
  readonly #database: Database;
  readonly #now: () => number;
  readonly #subscribers = new Set<Subscriber>();
  /** Read since the last turn of the event loop, and true until something is written. */
  readonly #pages = new Map<string, KittyEvent[]>();
  #isTelling = false;

  constructor(database: Database, now: () => number) {
    this.#database = database;
    this.#now = now;
  }

  append(event: NewEvent): KittyEvent {
    this.#pages.clear();
    const time = this.#now();
    const data = JSON.stringify(event.data);
    const { lastInsertRowid: seq } = this.#database.run(
      "INSERT INTO events (time, topic, type, id, data) VALUES (?, ?, ?, ?, ?)",
      time,
      event.topic,
      event.type,
      event.id,
      data,
    );
    this.tellSoon();
    return { seq, time: new Date(time).toISOString(), ...event };
  }

  appendAll(events: readonly NewEvent[]): KittyEvent[] {
    return this.#database.transaction(() => events.map((event) => this.append(event)));
  }

  async latest(): Promise<number> {
    return await Promise.resolve(this.lastSeq);
  }

  async page(since: number, limit?: number): Promise<KittyEvent[]> {
    return await Promise.resolve(this.read(since, limit));
  }

  read(since: number, limit = PAGE): KittyEvent[] {
    const key = `${String(since)} ${String(limit)}`;
    const known = this.#pages.get(key);
    if (known !== undefined) return [...known];
    // Everybody who follows asks for the same page as soon as it is told.
    if (this.#pages.size === 0)
      setImmediate(() => {
        this.#pages.clear();
      });
    const page = this.#read(since, limit);
    this.#pages.set(key, page);
    return [...page];
  }

  #read(since: number, limit: number): KittyEvent[] {
    const rows = this.#database.all("SELECT * FROM events WHERE seq > ? ORDER BY seq LIMIT ?", since, limit);
    const events = rows.map(toEvent);
    const removed = this.#lastRemoved();
    return since >= removed ? events : [this.#snapshot(removed), ...events.slice(0, Math.max(limit - 1, 0))];
  }

  /** What happened to one job but its progress, the latest 1000 events. */
  of(job: string): KittyEvent[] {
    const sql =
      "SELECT * FROM events WHERE topic = 'job' AND id = ? AND type <> 'job.progress' ORDER BY seq DESC LIMIT 1000";
    return this.#database.all(sql, job).map(toEvent).reverse();
  }

  get lastSeq(): number {
    // Also right when all events were removed.
    return Number(this.#database.get("SELECT seq FROM sqlite_sequence WHERE name = 'events'")?.["seq"] ?? 0);
  }

  subscribe(since: number, listener: (event: KittyEvent) => void, options: SubscribeOptions = {}): () => void {
    const subscriber = { ...options, listener, seq: since };
    this.#subscribers.add(subscriber);
    this.tellSoon();
    return () => {
      this.#subscribers.delete(subscriber);
    };
  }

  /** Tells subscribers what they do not know yet, once what runs now is done and its transaction is on disk. */
  tellSoon(): void {
    if (this.#isTelling || this.#subscribers.size === 0) return;
    this.#isTelling = true;
    setImmediate(() => {
      this.#isTelling = false;
      if (this.#tell()) this.tellSoon();
    });
  }

  /** Removes all but the latest `keep` events. */
  trim(keep: number): void {
    this.#pages.clear();
    this.#database.run("DELETE FROM events WHERE seq <= ?", this.lastSeq - keep);
  }

  /** Tells subscribers that nothing follows. */
  close(): void {
    const subscribers = [...this.#subscribers];
    this.#subscribers.clear();
    for (const { onError } of subscribers) {
      onError?.(new KittyError("Cannot follow events any more: this Kitty was closed", { code: "closed" }));
    }
  }

  /** @returns whether there may be more */
  #tell(): boolean {
    let hasMore = false;
    // Those who are equally far share one page.
    const pages = new Map<number, KittyEvent[]>();
    for (const subscriber of [...this.#subscribers]) {
      const page = pages.get(subscriber.seq) ?? this.read(subscriber.seq, PAGE);
      pages.set(subscriber.seq, page);
      hasMore ||= page.length >= PAGE;
      for (const event of page) {
        if (!this.#subscribers.has(subscriber)) break;
        subscriber.seq = event.seq;
        if (subscriber.id === undefined || event.id === subscriber.id || event.type === "snapshot") {
          subscriber.listener(event);
        }
      }
    }
    return hasMore;
  }

  #lastRemoved(): number {
    const first = this.#database.get("SELECT min(seq) AS seq FROM events")?.["seq"];
    return typeof first === "number" ? first - 1 : this.lastSeq;
  }

  #snapshot(seq: number): KittyEvent {
    const rows = this.#database.all("SELECT state, count(*) AS count FROM jobs GROUP BY state");
    const jobs = Object.fromEntries(rows.map(({ state, count }) => [String(state), Number(count)]));
    const time = new Date(this.#now()).toISOString();
    return { seq, time, topic: "system", type: "snapshot", id: null, data: { jobs } };
  }
}

function toEvent({ seq, time, topic, type, id, data }: Row): KittyEvent {
  return {
    seq: Number(seq),
    time: new Date(Number(time)).toISOString(),
    topic: topic as EventTopic,
    type: String(type),
    id: id === null || id === undefined ? null : String(id),
    data: JSON.parse(String(data)) as Record<string, unknown>,
  };
}
