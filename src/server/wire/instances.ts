import { z } from "zod";

export const instanceSchema = z.looseObject({
  name: z.string(),
  state: z.enum(["starting", "ready", "dead", "orphaned", "elsewhere"]),
  image: z.string(),
  overlay: z.string(),
  visibleDevices: z.string().nullable(),
  startedAt: z.string(),
});

export const instanceListSchema = z.object({ instances: z.array(instanceSchema) });

export type Instance = z.output<typeof instanceSchema>;
export type InstanceList = z.output<typeof instanceListSchema>;
