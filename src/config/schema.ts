import { z } from "zod";

/** The names that `kitty_kv.PRESETS` and the command line share. */
export const PRESET_NAMES = ["fp16", "kivi-2", "kivi-2-sink", "kitty", "kitty-pro", "kitty-q", "kitty-q-pro"] as const;

const bits = z.number().int().min(1).max(16);
const tokenCount = z.number().int().nonnegative();
const durationMs = z
  .number()
  .int()
  .positive()
  .max(2 ** 31 - 1);

/** An explicit cache: a preset, and what differs from it. */
export const cacheSchema = z.strictObject({
  preset: z.enum(PRESET_NAMES).optional(),
  kBits: bits.optional(),
  vBits: bits.optional(),
  boostBits: bits.optional(),
  boostRatio: z.number().min(0).max(1).optional(),
  selection: z.enum(["magnitude", "range", "query", "variance", "random"]).optional(),
  sinkTokens: tokenCount.optional(),
  recentTokens: tokenCount.optional(),
  pageSize: z.number().int().positive().optional(),
  seed: z.number().int().optional(),
});

const workerSchema = z.strictObject({
  python: z.string().min(1).nullable().default(null),
  device: z.string().min(1).default("auto"),
  dtype: z.enum(["auto", "float32", "bfloat16", "float16"]).default("auto"),
  /** Most memory of the keys and values of all sessions of one model and cache configuration; null is no limit. */
  kvMemoryMiB: z.number().int().positive().nullable().default(null),
  /** Most generations that one worker steps together. */
  maxBatch: z.number().int().positive().default(64),
  /** Most generations that wait for their turn in one worker; one more is refused at once (queue_full). */
  maxWaiting: z.number().int().positive().default(1024),
  heartbeatIntervalMs: durationMs.default(5000),
  heartbeatTimeoutMs: durationMs.default(30_000),
  stepTimeoutMs: durationMs.default(600_000),
  startTimeoutMs: durationMs.default(120_000),
});

/** What `runner: apptainer` and `instance start` run on. */
const apptainerSchema = z.strictObject({
  image: z.string().min(1).nullable().default(null),
  overlay: z.string().min(1).nullable().default(null),
  modelFolders: z.array(z.string().min(1)).default([]),
  nvidia: z.boolean().default(false),
  /** One entry an instance, in turn: the GPUs that are its share. */
  gpus: z.array(z.string().min(1)).default([]),
  network: z.enum(["none", "host"]).default("none"),
  memoryMiB: z.number().int().positive().nullable().default(null),
  cpus: z.number().positive().nullable().default(null),
});

/** How many workers sessions share, and when there are more or fewer of them. */
const poolSchema = z
  .strictObject({
    min: z.number().int().positive().default(1),
    max: z.number().int().positive().optional(),
    sessionsPerWorker: z.number().int().positive().default(8),
    idleTimeoutMs: durationMs.default(60_000),
  })
  .transform(({ max, ...pool }) => ({ ...pool, max: max ?? pool.min }))
  .superRefine(({ min, max: input }, context) => {
    if (input < min)
      context.addIssue({ code: "custom", path: ["max"], message: `must be >= min, ${String(min)}`, input });
  });

const serverSchema = z.strictObject({
  host: z.string().min(1).default("127.0.0.1"),
  port: z.number().int().min(0).max(65_535).default(7717),
  /** Names that clients may call this machine by, besides its own; a request for any other Host is refused. */
  allowedHosts: z.array(z.string().min(1)).default([]),
  maxBodyMiB: z.number().positive().max(1024).default(16),
  /** Of a saved session that is sent to be restored. */
  maxUploadMiB: z.number().positive().default(65_536),
  /** Of one client address; twice as many at once. */
  requestsPerSecond: z.number().positive().default(2000),
  /** Most generations that run or wait at once; one more is refused with 429. */
  maxGenerations: z.number().int().positive().default(1024),
  /** A session that was opened over HTTP and not used for so long is closed. */
  sessionIdleTimeoutMs: durationMs.default(1_800_000),
  /** A client of the event log that reads nothing for so long is told to come back for the rest. */
  eventStallTimeoutMs: durationMs.default(30_000),
});

/** Durable jobs: where they are kept, and how many run at once. */
const jobsSchema = z.strictObject({
  /** The folder of the job store, on a disk of this machine; null is KITTY_KV_HOME. */
  folder: z.string().min(1).nullable().default(null),
  /** `delete` is slower and safe on a network file system, as long as only one machine uses the folder. */
  journal: z.enum(["wal", "delete"]).default("wal"),
  /** Jobs at once, sweeps not counted. */
  slots: z.number().int().positive().default(2),
  /** The GPUs that jobs share, as CUDA_VISIBLE_DEVICES has them; a job gets as many as its resources.gpus says. */
  gpus: z.array(z.string().min(1)).default([]),
  leaseMs: durationMs.default(30_000),
  /** Jobs that ended longer ago are removed with their folders. */
  keepDays: z.number().positive().default(30),
  /** Events beyond so many are removed, oldest first. */
  keepEvents: z.number().int().positive().default(100_000),
});

// Accounts are numbers at some sites, and YAML reads them as such.
const word = z.union([z.string().min(1), z.number().transform(String)]);

/** What `runner: slurm` asks the cluster for; a job's own resources go before. */
const slurmSchema = z.strictObject({
  partition: word.nullable().default(null),
  account: word.nullable().default(null),
  qos: word.nullable().default(null),
  timeLimitMinutes: z.number().positive().nullable().default(null),
  /** Of one job. */
  nodes: z
    .number()
    .int()
    .positive()
    .refine((nodes) => nodes === 1, "must be 1 (a job runs on one node, sweeps and batches of jobs on many)")
    .default(1),
  cpus: z.number().int().positive().nullable().default(null),
  memoryMiB: z.number().int().positive().nullable().default(null),
  gpus: z.number().int().nonnegative().default(0),
  gpuType: word.nullable().default(null),
  /** In place of gpus and gpuType, as sbatch has it. */
  gres: z.string().min(1).nullable().default(null),
  constraint: z.string().min(1).nullable().default(null),
  /** More options of sbatch, such as --reservation=name. */
  directives: z.array(z.string().min(1)).default([]),
  /** Whether you may raise priorities, as operators may: then a job's positive priority becomes a negative `--nice`. */
  raisePriority: z.boolean().default(false),
  /** Names of generated options that the site refuses, such as mem. */
  suppress: z.array(z.string().min(1)).default([]),
  /** Lines of shell before and after the work on a node. */
  setup: z.array(z.string()).default([]),
  teardown: z.array(z.string()).default([]),
  /** A file: the script with {{directives}}, {{setup}}, {{command}} and {{teardown}}. */
  template: z.string().min(1).nullable().default(null),
  /** `apptainer` takes image and overlay of the section apptainer; `none` the Python of worker.python. */
  container: z.enum(["apptainer", "none"]).default("apptainer"),
  /** Node.js on compute nodes; null is the path of the one here. */
  node: z.string().min(1).nullable().default(null),
  /** A folder that compute nodes see under the same path, for jobs' files; null is jobs.folder. */
  folder: z.string().min(1).nullable().default(null),
  /** Most tasks of one array that run at once. */
  arrayParallel: z.number().int().positive().nullable().default(null),
  /** Most tasks in one array; null is what the site allows. */
  maxArraySize: z.number().int().positive().nullable().default(null),
  /** Jobs in Slurm's queue at once. */
  maxSubmitted: z.number().int().positive().default(5000),
  /** So long before the time limit a job saves what it has and goes back into the queue. */
  signalSeconds: z.number().int().min(1).max(65_535).nullable().default(120),
  pollMinMs: durationMs.default(2000),
  pollMaxMs: durationMs.default(60_000),
  /** Workers of sessions that share one allocation. */
  workersPerAllocation: z.number().int().positive().default(1),
  /** An allocation without a worker is given back after so long. */
  idleTimeoutMs: durationMs.default(60_000),
});

/** The whole configuration; every key has a default. */
export const configSchema = z.strictObject({
  model: z.string().min(1).nullable().default(null),
  cache: cacheSchema.prefault({}).transform((cache) => ({ preset: "kitty-pro" as const, ...cache })),
  runner: z.enum(["local", "apptainer", "slurm"]).default("local"),
  worker: workerSchema.prefault({}),
  pool: poolSchema.prefault({}),
  apptainer: apptainerSchema.prefault({}),
  slurm: slurmSchema.prefault({}),
  server: serverSchema.prefault({}),
  jobs: jobsSchema.prefault({}),
});

export type CacheInput = z.input<typeof cacheSchema>;
export type ConfigInput = z.input<typeof configSchema>;
export type Config = z.output<typeof configSchema>;
