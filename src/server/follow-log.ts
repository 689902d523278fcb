import type { EventTopic, KittyEvent } from "../job/event.js";
import type { EventLog } from "../job/event-log.js";

const PAGE = 256;

/** Which events are wanted; undefined is all of them. */
export interface EventFilter {
  topics: ReadonlySet<EventTopic> | undefined;
  /** What they happened to. */
  id: string | undefined;
}

export interface FollowOptions extends EventFilter {
  since: number;
  signal: AbortSignal;
}

/** Some of the log's events, and the number of the last event before the next ones. */
export interface FollowedPage {
  events: KittyEvent[];
  seq: number;
}

/**
 * Pages of the log after a number, first those that are there and then those to come, until the signal fires. Events wait
 * in the log until the page before was taken, so whoever is slow costs no memory.
 */
export async function* followLog(log: EventLog, options: FollowOptions): AsyncGenerator<FollowedPage, void> {
  const { since, signal } = options;
  let [seq, wake] = [since, (): void => undefined];
  const unsubscribe = log.subscribe(log.lastSeq, () => {
    wake();
  });
  const onAbort = (): void => {
    wake();
  };
  signal.addEventListener("abort", onAbort);
  try {
    while (!signal.aborted) {
      const page = readPage(log, seq, PAGE, options);
      if (page.seq === seq) await new Promise<void>((resolve) => (wake = resolve));
      else yield page;
      seq = page.seq;
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
    unsubscribe();
  }
}

/** At most `limit` events after `since`, less those that are not wanted. */
export function readPage(log: EventLog, since: number, limit: number, { topics, id }: EventFilter): FollowedPage {
  const events = log.read(since, limit);
  const isWanted = (event: KittyEvent): boolean =>
    (topics === undefined || topics.has(event.topic)) && (id === undefined || event.id === id);
  // A snapshot stands for events of every kind.
  return {
    events: events.filter((event) => event.type === "snapshot" || isWanted(event)),
    seq: events.at(-1)?.seq ?? since,
  };
}

const texts = new WeakMap<KittyEvent, string>();

/** An event as JSON; the same one goes to many. */
export function textOf(event: KittyEvent): string {
  const known = texts.get(event);
  if (known !== undefined) return known;
  const text = JSON.stringify(event);
  texts.set(event, text);
  return text;
}
