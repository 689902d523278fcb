import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { apptainerProgram } from "../apptainer/apptainer.js";
import { apptainerEnvironment } from "../apptainer/apptainer-environment.js";
import { containerArguments, insideEnvironment } from "../apptainer/instance-arguments.js";
import { checkSettings } from "../apptainer/instance-settings.js";
import type { Config } from "../config/schema.js";
import { containerSettings } from "./container-settings.js";
import { INSTANCE_PYTHON, programFolders } from "./instance-worker.js";
import {
  HOSTED_ENVIRONMENT,
  hostedArguments,
  runHosted,
  runPythonTask,
  type PythonReport,
  type PythonTask,
  type RunOptions,
} from "./python-task.js";
import { prepareOverlay } from "./start-instances.js";
import { HOST_FILES, ShownFiles, type TaskFiles } from "./task-files.js";

export interface TaskOptions extends RunOptions {
  /** Whether it computes on GPUs, where there are any. */
  usesGpus: boolean;
}

/** Whether Python runs in containers only, so that this machine need not have its packages. */
export function isInContainers({ runner, slurm }: Pick<Config, "runner" | "slurm">): boolean {
  return runner === "apptainer" || (runner === "slurm" && slurm.container === "apptainer");
}

/**
 * Runs a Python module of ours where the configuration says: with the Python that workers have, or in a container of its
 * own on the image and the overlay.
 * @param describe the task, with the names of its files there
 * @throws what `runPythonTask` throws; ConfigError, NotFoundError, OverlayInUseError, UnsupportedError about containers
 */
export async function runTask(
  config: Config,
  describe: (files: TaskFiles) => PythonTask,
  options: TaskOptions,
): Promise<PythonReport> {
  if (!isInContainers(config)) return await runPythonTask(config, describe(HOST_FILES), options);
  const files = new ShownFiles();
  return await runInContainer(config, describe(files), files, options);
}

async function runInContainer(
  config: Config,
  task: PythonTask,
  files: ShownFiles,
  { signal, onProgress, usesGpus }: TaskOptions,
): Promise<PythonReport> {
  const { hasNvidia = false, ...wanted } = containerSettings(config);
  const settings = checkSettings({ ...wanted, hasNvidia: hasNvidia && usesGpus });
  await using lease = await prepareOverlay(settings, { signal });
  const scratch = mkdtempSync(join(tmpdir(), "kitty-kv-scratch-"));
  try {
    const container = containerArguments(settings, { scratch, programs: programFolders(), binds: files.binds });
    const python = [config.worker.python ?? INSTANCE_PYTHON, ...hostedArguments(task)];
    const command = {
      file: apptainerProgram(undefined),
      args: ["--silent", "exec", "--pwd", "/", ...container, ...python],
      env: { ...apptainerEnvironment(process.env), ...environmentOf(task) },
    };
    const told = (line: string): void => {
      onProgress(files.toHost(line));
    };
    const stop = AbortSignal.any([signal, lease.lost]);
    return await runHosted(task, command, { signal: stop, onProgress: told }, (stdout) =>
      files.toHost(stdout, (path) => JSON.stringify(path).slice(1, -1)),
    );
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function environmentOf({ env = {} }: PythonTask): Record<string, string> {
  const own = Object.entries({ ...HOSTED_ENVIRONMENT, ...env }).map(([name, value]) => [`APPTAINERENV_${name}`, value]);
  return { ...insideEnvironment(null, process.env), ...(Object.fromEntries(own) as Record<string, string>) };
}
