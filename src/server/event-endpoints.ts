import { z } from "zod";
import { eventPageSchema, eventSchema } from "../job/event-schemas.js";
import { endpoint, type Context, type Endpoint } from "./endpoint.js";
import { EventStream } from "./event-stream.js";
import { followLog, readPage, textOf } from "./follow-log.js";
import { checkSince, readTopics } from "./read-topics.js";

const HEARTBEAT_MS = 15_000;

export const eventQueryShape = {
  /** The number of the last event that is known. */
  since: z.coerce.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER).default(0),
  /** Names of topics with commas. */
  topics: z.string().optional(),
  /** Only what happened to this job, session, instance or overlay. */
  id: z.string().min(1).optional(),
};
const querySchema = z.strictObject({
  ...eventQueryShape,
  limit: z.coerce.number().int().min(1).max(1000).default(500),
});
type Query = z.output<typeof querySchema>;

const readEvents = endpoint({
  method: "get",
  path: "/api/events",
  tag: "events",
  summary: "Read or follow events",
  description:
    "A page of the event log after `since`. With the header `Accept: text/event-stream` those in the log come first and then those to come, until the client closes the connection; a comment every 15 s says that the server lives. A WebSocket at the same address has the same.",
  query: querySchema,
  answers: [
    { description: "A page", schema: eventPageSchema },
    { description: "Or one event after another", contentType: "text/event-stream", schema: eventSchema },
  ],
  handle: async (context: Context<unknown, Query>) => {
    const { services, query, request } = context;
    const { since, limit, id } = query;
    const topics = readTopics(query.topics);
    checkSince(since, services.events);
    if (request.accepts(["application/json", "text/event-stream"]) === "text/event-stream") {
      await follow(context);
      return undefined;
    }
    const { events, seq } = readPage(services.events, since, limit, { topics, id });
    return { events, next: seq, latest: services.events.lastSeq };
  },
});

async function follow({ services, query, response, signal }: Context<unknown, Query>): Promise<void> {
  const stream = new EventStream(response, signal);
  const heartbeat = setInterval(() => void stream.comment("alive"), HEARTBEAT_MS);
  try {
    // So that the client knows at once that it is heard.
    await stream.comment("following");
    const { since, id } = query;
    const options = { since, id, topics: readTopics(query.topics), signal };
    for await (const { events } of followLog(services.events, options)) {
      for (const event of events) await stream.send(textOf(event));
    }
  } finally {
    clearInterval(heartbeat);
  }
}

export const EVENT_ENDPOINTS: readonly Endpoint[] = [readEvents];
