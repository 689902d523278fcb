import type { z } from "zod";
import type { eventPageSchema, eventSchema } from "../../job/event-schemas.js";

export type Event = z.output<typeof eventSchema>;
export type EventPage = z.output<typeof eventPageSchema>;
