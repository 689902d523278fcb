import { z } from "zod";
import { instanceFacts } from "../../apptainer/instance-facts.js";

const absolutePath = z.string().regex(/^\//, "must be an absolute path");
const count = z.number().int();

export const instanceStates = ["starting", "ready", "dead", "orphaned", "elsewhere"] as const;

export const instanceSchema = z.looseObject({
  ...instanceFacts,
  state: z.enum(instanceStates),
});
export const instanceListSchema = z.object({ instances: z.array(instanceSchema) });

/** What `POST /api/instances` takes; the configuration's `apptainer` says the rest. */
export const startInstancesBodySchema = z.strictObject({
  image: absolutePath.optional(),
  /** A sealed one, which is only read. */
  overlay: absolutePath.optional(),
  count: count.min(1).max(64).default(1),
  /** Folders that instances see read-only, under their own paths. */
  modelFolders: z.array(absolutePath).max(64).optional(),
  nvidia: z.boolean().optional(),
  /** The GPUs that workers in them use, such as `0,1`; null is all. */
  visibleDevices: z.string().nullable().optional(),
  network: z.enum(["none", "host"]).optional(),
  memoryMiB: count.positive().nullable().optional(),
  cpus: z.number().positive().nullable().optional(),
});

export const logPageSchema = z.object({
  text: z.string(),
  offset: count,
  nextOffset: count,
  /** Of the whole log, as it is now. */
  sizeBytes: count,
  /** Whether nothing follows. */
  isEnd: z.boolean(),
});

export type WireInstance = z.output<typeof instanceSchema>;
export type InstanceList = z.output<typeof instanceListSchema>;
export type StartInstancesBody = z.input<typeof startInstancesBodySchema>;
export type LogPage = z.output<typeof logPageSchema>;
