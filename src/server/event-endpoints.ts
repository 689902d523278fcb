import { z } from "zod";
import { endpoint, type Endpoint } from "./endpoint.js";
import { eventPageSchema } from "./wire/events.js";

const listEvents = endpoint({
  method: "get",
  path: "/api/events",
  tag: "events",
  summary: "List events",
  description:
    "Those after `since`, oldest first, for clients that cannot follow them over a WebSocket. Without `since`, only `lastSeq`, the number to follow them from.",
  query: z.strictObject({
    since: z.coerce.number().int().nonnegative().optional(),
    limit: z.coerce.number().int().min(1).max(1000).default(500),
  }),
  answers: [{ description: "Events", schema: eventPageSchema }],
  handle: ({ services: { events }, query: { since, limit } }) => {
    const { lastSeq } = events;
    return Promise.resolve({ events: since === undefined ? [] : events.read(since, limit), lastSeq });
  },
});

export const EVENT_ENDPOINTS: readonly Endpoint[] = [listEvents];
