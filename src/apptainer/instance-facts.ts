import { z } from "zod";

/** What is told of an instance, in its record on disk as to those who ask over HTTP. */
export const instanceFacts = {
  name: z.string(),
  image: z.string(),
  overlay: z.string(),
  modelFolders: z.array(z.string()),
  hasNvidia: z.boolean(),
  /** What CUDA_VISIBLE_DEVICES is inside; null leaves all that are bound. */
  visibleDevices: z.string().nullable(),
  network: z.enum(["none", "host"]),
  memoryMiB: z.number().nullable(),
  cpus: z.number().nullable(),
  startedAt: z.string(),
};
