import { z } from "zod";
import { EVENT_TOPICS } from "./event.js";

const number = z.number().int().nonnegative();

/** `KittyEvent` as a schema. */
export const eventSchema = z.object({
  seq: number,
  time: z.string(),
  topic: z.enum(EVENT_TOPICS),
  type: z.string(),
  id: z.string().nullable(),
  data: z.record(z.string(), z.unknown()),
});

/** A page of the event log. */
export const eventPageSchema = z.object({
  events: z.array(eventSchema),
  /** The `since` of the next page. */
  next: number,
  /** The number of the latest event; nothing is left when `next` is as large. */
  latest: number,
});
