import { z } from "zod";

const count = z.number().int().nonnegative();
const share = z.object({ free: count, total: count });

export const partitionSchema = z.object({
  name: z.string(),
  isDefault: z.boolean(),
  isUp: z.boolean(),
  /** Null is no limit. */
  timeLimitMinutes: z.number().nullable(),
  /** Free are those that nobody uses at all. */
  nodes: share.extend({ down: count }),
  cpus: share,
  gpus: share,
  gpuTypes: z.array(z.string()),
});

export const clusterNodeSchema = z.object({
  name: z.string(),
  /** In Slurm's word, such as idle, mixed, allocated or down*. */
  state: z.string(),
  isUp: z.boolean(),
  partitions: z.array(z.string()),
  cpus: share,
  gpus: share,
  gpuTypes: z.array(z.string()),
  memoryMiB: z.number(),
  /** Why it is down or drained. */
  reason: z.string().nullable(),
});

/** A submission of this user: a job, or the tasks of an array together. */
export const submissionSchema = z.object({
  /** Slurm's number. */
  jobId: z.string(),
  name: z.string(),
  pending: count,
  running: count,
  /** Of submissions of others, those that Slurm still knows. */
  ended: count,
  /** In plain words, why those wait that do. */
  reason: z.string().nullable(),
  /** When the next of them is expected to start. */
  expectedStart: z.iso.datetime().nullable(),
  /** Where it runs. */
  nodes: z.array(z.string()),
  /** The ids of its first twenty jobs; none where it is not this orchestrator's. */
  jobs: z.array(z.string()),
});

export const clusterSchema = z.object({
  cluster: z.string(),
  version: z.string(),
  hasAccounting: z.boolean(),
  partitions: z.array(partitionSchema),
  nodes: z.array(clusterNodeSchema),
  /** This user's, whoever submitted them; those that have not ended wholly. */
  submissions: z.array(submissionSchema),
});

export type WireCluster = z.output<typeof clusterSchema>;
export type WirePartition = z.output<typeof partitionSchema>;
export type WireNode = z.output<typeof clusterNodeSchema>;
export type WireSubmission = z.output<typeof submissionSchema>;
