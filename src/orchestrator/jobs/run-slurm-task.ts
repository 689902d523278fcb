import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { configSchema, type Config } from "../../config/schema.js";
import { validate } from "../../config/validate.js";
import { CancelledError, ConfigError, KittyError } from "../../errors.js";
import { notOnNodes } from "../../runner/node-sight.js";
import {
  BATCH_FILES,
  readOutcome,
  readTask,
  readTasks,
  taskFile,
  writeJson,
  writeOutcome,
  type Outcome as TaskOutcome,
  type TaskFile,
} from "../../runner/slurm-files.js";
import { writeNotice } from "../../runner/slurm-notices.js";
import { INTERRUPTED_EXIT_CODE } from "../../runner/slurm-request.js";
import { Kitty } from "../kitty.js";
import { toJobError } from "./attempt-error.js";
import type { AttemptContext, JobExecutor, Outcome } from "./executor.js";
import { JobFolder } from "./job-folder.js";
import { generateExecutor } from "./run-generate.js";
import { evalExecutor, latencyExecutor, simulateExecutor } from "./run-python.js";
import { FOLDER_EXIT_CODE, isOfSharedFolder, whileFolderMayReturn } from "./shared-folder-wait.js";
import { unmetNeed } from "./unmet-need.js";
import { countStart, type Starts } from "./slurm-starts.js";

const PROGRESS_INTERVAL_MS = 1000;
const FAILED_EXIT_CODE = 1;
const TERMINATED_EXIT_CODE = 143;

export interface SlurmTaskSignals {
  /** Slurm says that the time is nearly over. */
  timeIsNearlyOver: AbortSignal;
  /** Slurm says that the job must end: it was cancelled or preempted. */
  mustEnd: AbortSignal;
}

/**
 * Runs one task of a submission on a compute node, from where an earlier run of it left off, and leaves its outcome in the
 * job's folder.
 * @param patienceMs how long a shared folder that cannot be written is waited for @default five minutes
 * @returns the exit code: 0 when it succeeded, 1 when it left another outcome, 74 when the shared folder could not be
 *   written for long, 75 when it is to be put back into the queue
 * @throws ConfigError when there is no such task, KittyError `shared_folder` when the outcome cannot be written
 */
export async function runSlurmTask(
  batchFolder: string,
  index: number,
  signals: SlurmTaskSignals,
  patienceMs?: number,
): Promise<number> {
  const folder = readTasks(batchFolder)?.[index];
  const task = folder === undefined ? undefined : readTask(folder);
  if (folder === undefined || task === undefined) {
    throw new ConfigError(
      `Cannot run task ${String(index)} of ${JSON.stringify(batchFolder)}: its files are not there; compute nodes must see slurm.folder under the same path as this machine`,
      { code: "task_not_found", details: { batchFolder, index } },
    );
  }
  const isOurs = task.batch === basename(batchFolder) && task.index === index;
  // A submission that was given up may start late, and must not disturb the one that took its place.
  if (!isOurs) return FAILED_EXIT_CODE;
  const known = readOutcome(folder, task);
  if (known !== undefined) return exitCodeOf(known);
  writeNotice(batchFolder, index);
  const exitCode =
    (await waitForNeeds(task, folder, signals.mustEnd)) ?? (await runHere(task, folder, signals, patienceMs));
  writeNotice(batchFolder, index);
  return exitCode;
}

/** @returns the exit code of a task that must not run now */
async function waitForNeeds(task: TaskFile, folder: string, mustEnd: AbortSignal): Promise<number | undefined> {
  const unmet = await unmetNeed(task, folder, mustEnd);
  if (unmet === undefined) return undefined;
  return mustEnd.aborted ? TERMINATED_EXIT_CODE : leave(task, folder, unmet);
}

async function runHere(
  task: TaskFile,
  folder: string,
  signals: SlurmTaskSignals,
  patienceMs: number | undefined,
): Promise<number> {
  const log = logger(folder);
  const starts = countStart(folder, task);
  if (starts.refusal !== undefined) {
    return leave(task, folder, starts.refusal);
  }
  log(
    `begins on ${process.env["SLURMD_NODENAME"] ?? hostname()}${starts.number > 1 ? `, start ${String(starts.number)}` : ""}`,
  );
  const signal = AbortSignal.any([signals.timeIsNearlyOver, signals.mustEnd]);
  const options = { folder, signal, log, patienceMs };
  try {
    const exitCode = await whileFolderMayReturn(options, () => attempt(task, folder, signals, starts));
    if (exitCode !== FOLDER_EXIT_CODE || !signal.aborted) return exitCode;
    return signals.mustEnd.aborted ? TERMINATED_EXIT_CODE : INTERRUPTED_EXIT_CODE;
  } catch (error) {
    // It takes small files, and never the results.
    if (isOfSharedFolder(error)) return leave(task, folder, failedBy(error));
    throw error;
  }
}

async function attempt(task: TaskFile, folder: string, signals: SlurmTaskSignals, starts: Starts): Promise<number> {
  const log = logger(folder);
  const stop = AbortSignal.any([signals.timeIsNearlyOver, signals.mustEnd]);
  try {
    checkSight(readConfig(task.folder), `finish job ${task.job.id}`);
    const isInterrupted = (): boolean => signals.timeIsNearlyOver.aborted && !signals.mustEnd.aborted;
    const { figures, files } = await execute(task, folder, { signal: stop, isInterrupted, log });
    return leave(task, folder, { kind: "succeeded", figures: { ...figures }, files: [...files] });
  } catch (error) {
    if (signals.mustEnd.aborted) return TERMINATED_EXIT_CODE;
    if (signals.timeIsNearlyOver.aborted && error instanceof CancelledError) {
      starts.interrupt();
      log("its time is nearly over; what it has is kept, and it goes back into the queue");
      return INTERRUPTED_EXIT_CODE;
    }
    if (isOfSharedFolder(error)) throw error;
    return leave(task, folder, failedBy(error));
  }
}

function leave(task: TaskFile, folder: string, outcome: TaskOutcome): number {
  writeOutcome(folder, task, outcome);
  return exitCodeOf(outcome);
}

function failedBy(error: unknown): TaskOutcome {
  const failure = toJobError(error);
  return { kind: "failed", error: { ...failure, details: { ...failure.details } } };
}

/** Slurm starts those that wait for this task when it ends with 0. */
function exitCodeOf({ kind }: TaskOutcome): number {
  return kind === "succeeded" ? 0 : FAILED_EXIT_CODE;
}

async function execute(
  task: TaskFile,
  path: string,
  run: Pick<AttemptContext, "signal" | "isInterrupted" | "log">,
): Promise<Outcome> {
  const config = readConfig(task.folder);
  const folder = new JobFolder(dirname(path), basename(path));
  const context: AttemptContext = {
    ...{ ...run, job: task.job, folder, gpus: [], openDependencies: () => [] },
    begin: () => undefined,
    progress: progressWriter(task, path),
  };
  // What instances leave behind must not outlive the job, nor lie on a shared disk.
  const home = makeHome();
  process.env["KITTY_KV_HOME"] = home;
  try {
    return await withExecutor(config, context, (executor) => executor(context));
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}

async function withExecutor(
  config: Config,
  { job: { spec }, signal }: AttemptContext,
  work: (executor: JobExecutor) => Promise<Outcome>,
): Promise<Outcome> {
  switch (spec.kind) {
    case "generate": {
      // In a container, the folder of the job's own model is shown as the configured one's is.
      await using kitty = await Kitty.start({ config: { ...config, model: spec.model ?? config.model }, signal });
      return await work(generateExecutor(kitty.sessions));
    }
    case "latency":
      return await work(latencyExecutor(config));
    case "simulate":
      return await work(simulateExecutor(config));
    case "eval":
      return await work(evalExecutor(config));
    case "sweep":
      throw new ConfigError("Cannot run a sweep on a node: its children run there");
  }
}

/** Where no node was free to look before the job was submitted. */
function checkSight({ runner, apptainer }: Config, attempt: string): void {
  const files = runner === "apptainer" ? [apptainer.image, apptainer.overlay] : [];
  const missing = files.filter((file) => file !== null && !existsSync(file)).map(String);
  if (missing.length > 0) throw notOnNodes(process.env["SLURMD_NODENAME"] ?? hostname(), missing, attempt);
}

function readConfig(batchFolder: string): Config {
  const path = join(batchFolder, BATCH_FILES.config);
  return validate(configSchema, JSON.parse(readFileSync(path, "utf8")), { attempt: `read ${JSON.stringify(path)}` });
}

function makeHome(): string {
  try {
    return mkdtempSync(join(tmpdir(), "kitty-kv-task-"));
  } catch (cause) {
    throw new KittyError(
      `Cannot run on ${hostname()}: no folder can be made in ${tmpdir()} (${(cause as Error).message}); set TMPDIR in slurm.setup to a folder of the node's that has space`,
      { code: "node_folder", details: { host: hostname(), folder: tmpdir() }, cause },
    );
  }
}

/** A line that the shared folder does not take goes where the job's output goes, and ends nothing. */
function logger(folder: string): (line: string) => void {
  const path = taskFile(folder, "log");
  return (line) => {
    const whole = `${line.replaceAll("\n", " ")}\n`;
    try {
      appendFileSync(path, whole, { mode: 0o600 });
    } catch {
      writeToOutput(whole);
    }
  };
}

/** Which may be on the same disk. */
function writeToOutput(text: string): void {
  try {
    writeSync(process.stderr.fd, text);
  } catch {
    // There is nowhere left to say it.
  }
}

function progressWriter(task: TaskFile, folder: string): AttemptContext["progress"] {
  const { batch, index } = task;
  let writtenMs = -Infinity;
  return (done, total) => {
    const now = performance.now();
    if (done < total && now - writtenMs < PROGRESS_INTERVAL_MS) return;
    writtenMs = now;
    try {
      writeJson(taskFile(folder, "progress"), { batch, index, done, total });
    } catch (error) {
      // The next one says it all.
      if (!isOfSharedFolder(error)) throw error;
    }
  };
}
