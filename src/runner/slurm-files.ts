import { randomBytes } from "node:crypto";
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { z } from "zod";
import { KittyError } from "../errors.js";
import type { Job } from "../job/job.js";

/**
 * What orchestrator and nodes tell each other, in files of a folder that both see. A batch is one submission:
 * `slurm/<batch>/` has its script, its configuration and the folders of its tasks' jobs. Each job's folder has `slurm/` with
 * the task that it now is, and what the node says of it. Every file is replaced whole.
 */
export const BATCH_FILES = {
  script: "script.sh",
  tasks: "tasks.json",
  config: "config.json",
  submission: "submission.json",
  /** The tasks that must have succeeded first: one list for all tasks, or one for each. */
  needs: "needs.json",
  /** What a job prints besides its log: of a single one, and of an array's tasks in Slurm's own pattern. */
  output: "out.txt",
  arrayOutput: "out-%a.txt",
  /** A line for each task that begins or ends on a node: a hint where to look, which may get lost. */
  notices: "notices",
} as const;

const TASK_FILES = {
  task: "task.json",
  progress: "progress.json",
  outcome: "outcome.json",
  log: "log.txt",
  starts: "starts",
} as const;

/** One task of a batch. */
export interface TaskPlace {
  batch: string;
  index: number;
}

export interface TaskFile extends TaskPlace {
  /** Of the batch. */
  folder: string;
  job: Job;
}

const place = { batch: z.string(), index: z.number().int().nonnegative() };
const taskSchema = z.object({ ...place, folder: z.string(), job: z.custom<Job>((value) => typeof value === "object") });
const progressSchema = z.object({ ...place, done: z.number(), total: z.number() });
const submissionSchema = z.object({ jobId: z.string().regex(/^\d+$/), submittedMs: z.number() });
const errorSchema = z.object({ code: z.string(), message: z.string(), details: z.record(z.string(), z.unknown()) });
const outcomeSchema = z.object({
  ...place,
  end: z.discriminatedUnion("kind", [
    z.object({
      kind: z.literal("succeeded"),
      figures: z.record(z.string(), z.unknown()),
      files: z.array(z.string().regex(/^[\w.-]+$/)),
    }),
    z.object({ kind: z.enum(["failed", "timed_out"]), error: errorSchema }),
  ]),
});
const tasksSchema = z.array(z.string());
const needsSchema = z.array(z.array(z.object({ ...place, job: z.string() })));

/** A task that another one needs. */
export interface Need extends TaskPlace {
  /** Its job's id. */
  job: string;
}

export type Outcome = z.output<typeof outcomeSchema>["end"];
export type Submission = z.output<typeof submissionSchema>;

export function taskFile(jobFolder: string, name: keyof typeof TASK_FILES): string {
  return join(jobFolder, "slurm", TASK_FILES[name]);
}

export function readTask(jobFolder: string): TaskFile | undefined {
  return read(taskFile(jobFolder, "task"), taskSchema);
}

export function readSubmission(batchFolder: string): Submission | undefined {
  return read(join(batchFolder, BATCH_FILES.submission), submissionSchema);
}

/** The jobs' folders, by the number of the task. */
export function readTasks(batchFolder: string): string[] | undefined {
  return read(join(batchFolder, BATCH_FILES.tasks), tasksSchema);
}

/** What a task needs; nothing where no list was written. */
export function readNeeds(batchFolder: string, index: number): Need[] {
  const lists = read(join(batchFolder, BATCH_FILES.needs), needsSchema) ?? [];
  return lists[index] ?? lists[0] ?? [];
}

/** Whether a task of this submission has begun on a node. */
export function hasStarted(jobFolder: string, { batch }: TaskPlace): boolean {
  try {
    return readFileSync(taskFile(jobFolder, "starts"), "utf8").split("\n").includes(`${batch} start`);
  } catch (error) {
    if (isMissing(error)) return false;
    throw sharedFolderError(taskFile(jobFolder, "starts"), error as NodeJS.ErrnoException);
  }
}

export function readProgress(jobFolder: string, { batch, index }: TaskPlace) {
  const progress = read(taskFile(jobFolder, "progress"), progressSchema);
  return progress?.batch === batch && progress.index === index ? progress : undefined;
}

/** How this very task ended; what another submission of the job left does not count. */
export function readOutcome(jobFolder: string, { batch, index }: TaskPlace): Outcome | undefined {
  const outcome = read(taskFile(jobFolder, "outcome"), outcomeSchema);
  return outcome?.batch === batch && outcome.index === index ? outcome.end : undefined;
}

export function writeOutcome(jobFolder: string, { batch, index }: TaskPlace, end: Outcome): void {
  writeJson(taskFile(jobFolder, "outcome"), { batch, index, end }, { isDurable: true });
}

/**
 * Writes a file so that whoever reads it finds the old or the new content.
 * @throws KittyError `shared_folder`
 */
export function writeJson(path: string, value: unknown, { isDurable = false } = {}): void {
  writeWhole(path, `${JSON.stringify(value)}\n`, isDurable);
}

/** The same for a text. */
export function writeWhole(path: string, text: string, isDurable = false): void {
  const temporary = `${path}.${randomBytes(4).toString("hex")}.new`;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const file = openSync(temporary, "wx", 0o600);
    try {
      for (let rest = Buffer.from(text); rest.length > 0; rest = rest.subarray(writeSync(file, rest)));
      if (isDurable) fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } catch (cause) {
    throw sharedFolderError(path, cause as NodeJS.ErrnoException);
  }
}

/** That a folder on a shared file system cannot be used, with what to do. */
export function sharedFolderError(path: string, cause: NodeJS.ErrnoException, what = "write"): KittyError {
  const { code = "", message } = cause;
  const isFull = ["ENOSPC", "EDQUOT", "EFBIG"].includes(code);
  const remedy = isFull
    ? "free some space"
    : "set slurm.folder to a folder that you may write and that compute nodes see";
  return new KittyError(
    `Cannot ${what} ${JSON.stringify(path)}, which jobs on the cluster need: ${message}; ${remedy}`,
    {
      code: isFull ? "disk_full" : "shared_folder",
      details: { path, errno: code },
      cause,
    },
  );
}

/** Forgets the task that a job was, so that its next attempt is a new one. */
export function forgetTask(jobFolder: string): void {
  const path = taskFile(jobFolder, "task");
  try {
    rmSync(path, { force: true });
  } catch (cause) {
    throw sharedFolderError(path, cause as NodeJS.ErrnoException, "remove");
  }
}

/** Undefined where there is no such file, or not all of it yet. */
function read<S extends z.ZodType>(path: string, schema: S): z.output<S> | undefined {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw sharedFolderError(path, error as NodeJS.ErrnoException, "read");
  }
  try {
    return schema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

/** ESTALE: a file that was replaced while it was read, on NFS. */
function isMissing(error: unknown): boolean {
  return ["ENOENT", "ESTALE", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "");
}
