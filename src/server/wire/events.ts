import { z } from "zod";
import { EVENT_TOPICS } from "../../job/event.js";

export const eventSchema = z.object({
  seq: z.number().int().nonnegative(),
  time: z.iso.datetime(),
  topic: z.enum(EVENT_TOPICS),
  type: z.string(),
  id: z.string().nullable(),
  data: z.record(z.string(), z.unknown()),
});

/** Events after a number, and the number of the latest one there is. */
export const eventPageSchema = z.object({ events: z.array(eventSchema), lastSeq: z.number().int().nonnegative() });

export type Event = z.output<typeof eventSchema>;
export type EventPage = z.output<typeof eventPageSchema>;
