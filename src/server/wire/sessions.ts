import { z } from "zod";
import {
  type generationEventSchema,
  type generationResultSchema,
  type kvCacheMemorySchema,
  sessionInfoSchema,
} from "../../orchestrator/session-schemas.js";

export const servedSessionSchema = sessionInfoSchema.extend({ openedAt: z.iso.datetime(), generating: z.boolean() });
export const sessionListSchema = z.object({ sessions: z.array(servedSessionSchema) });

export type ServedSession = z.output<typeof servedSessionSchema>;
export type SessionList = z.output<typeof sessionListSchema>;
export type GenerationEvent = z.output<typeof generationEventSchema>;
export type GenerationResult = z.output<typeof generationResultSchema>;
export type KvCacheMemory = z.output<typeof kvCacheMemorySchema>;
