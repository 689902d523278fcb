import type { EventTopic, KittyEvent } from "../job/event.js";
import type { EventLog } from "../job/event-log.js";

const PAGE = 256;

export interface FollowOptions {
  since: number;
  /** undefined is all of them. */
  topics: ReadonlySet<EventTopic> | undefined;
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
  const { since, topics, signal } = options;
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
      const page = readPage(log, seq, PAGE, topics);
      if (page.seq === seq) await new Promise<void>((resolve) => (wake = resolve));
      else yield page;
      seq = page.seq;
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
    unsubscribe();
  }
}

/** At most `limit` events after `since`, less those of other topics. */
export function readPage(
  log: EventLog,
  since: number,
  limit: number,
  topics: ReadonlySet<EventTopic> | undefined,
): FollowedPage {
  const events = log.read(since, limit);
  // A snapshot stands for events of every topic.
  const wanted = events.filter(({ topic, type }) => topics === undefined || topics.has(topic) || type === "snapshot");
  return { events: wanted, seq: events.at(-1)?.seq ?? since };
}
