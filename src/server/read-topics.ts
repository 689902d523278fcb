import { ConfigError } from "../errors.js";
import { EVENT_TOPICS, type EventTopic } from "../job/event.js";
import type { EventLog } from "../job/event-log.js";

/**
 * The topics of a query, with commas between them.
 * @returns undefined for all
 * @throws ConfigError
 */
export function readTopics(text: string | undefined): ReadonlySet<EventTopic> | undefined {
  if (text === undefined) return undefined;
  const topics = text.split(",");
  const unknown = topics.find((topic) => !(EVENT_TOPICS as readonly string[]).includes(topic));
  if (unknown === undefined) return new Set(topics as EventTopic[]);
  throw new ConfigError(
    `Cannot follow events: topics must be some of ${EVENT_TOPICS.join(",")}, got ${JSON.stringify(unknown.slice(0, 100))}`,
  );
}

/**
 * A number from another log would wait for events that are long there.
 * @throws ConfigError `since_beyond_latest`
 */
export function checkSince(since: number, { lastSeq }: EventLog): void {
  if (since <= lastSeq) return;
  throw new ConfigError(
    `Cannot follow events: since is ${String(since)} and the latest event ${String(lastSeq)}, so the log is another one by now; begin at 0`,
    { code: "since_beyond_latest", details: { since, latest: lastSeq } },
  );
}
