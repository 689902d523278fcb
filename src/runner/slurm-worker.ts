import { mkdirSync } from "node:fs";
import { apptainerProgram } from "../apptainer/apptainer.js";
import { apptainerEnvironment } from "../apptainer/apptainer-environment.js";
import { containerArguments, INSIDE, insideEnvironment, SCRATCH } from "../apptainer/instance-arguments.js";
import type { CheckedSettings } from "../apptainer/instance-settings.js";
import type { FileExchange } from "../bridge/file-exchange.js";
import { pythoniaDir } from "../bridge/pythonia.js";
import type { Config } from "../config/schema.js";
import type { Command } from "../process/child.js";
import { slurmEnvironment } from "../slurm/slurm-environment.js";
import { findPython } from "./find-python.js";
import { INSTANCE_PYTHON, programFolders } from "./instance-worker.js";
import { packageRoot } from "./package-root.js";
import { workerEnvironment } from "./worker-environment.js";
import { workerLimits } from "./worker-limits.js";

export interface SlurmWorkerPlace {
  jobId: string;
  /** Of the step. */
  name: string;
  /** On the shared file system: the one place that a worker in a container may write. */
  scratch: string;
}

/** The command that runs a worker on an allocation's node, with its stdin and stdout as the bridge. */
export function slurmWorkerCommand(
  { slurm, worker }: Pick<Config, "slurm" | "worker">,
  container: CheckedSettings | null,
  place: SlurmWorkerPlace,
): Command {
  const { file, args, env } =
    container === null ? plainWorker(worker.python) : containerWorker(container, worker.python, place.scratch);
  const { engine } = workerLimits(worker);
  const cpus = slurm.cpus === null ? [] : [`--cpus-per-task=${String(slurm.cpus)}`];
  const step = ["--overlap", "--nodes=1", "--ntasks=1", "--mem=0", ...cpus, "--quiet", "--kill-on-bad-exit=1"];
  return {
    file: "srun",
    args: [
      `--jobid=${place.jobId}`,
      `--job-name=${place.name}`,
      ...step,
      "bash",
      "-c",
      start(slurm.setup),
      "kitty-kv",
      file,
      ...args,
      ...engine,
    ],
    env: { ...slurmEnvironment(process.env), ...env },
  };
}

/** Where files for a worker in a container are handed over. */
export function slurmExchange(scratch: string): FileExchange {
  mkdirSync(scratch, { recursive: true, mode: 0o700 });
  return { host: scratch, inside: SCRATCH };
}

/** The site's own lines may print; stdout is the bridge's. What Slurm shows of GPUs goes through to a container. */
function start(setup: readonly string[]): string {
  const share = '[ -z "$CUDA_VISIBLE_DEVICES" ] || export APPTAINERENV_CUDA_VISIBLE_DEVICES="$CUDA_VISIBLE_DEVICES"';
  const lines = setup.length === 0 ? [] : ["{", ...setup, "} >&2 < /dev/null"];
  return [...lines, share, 'exec "$@"'].join("\n");
}

function plainWorker(python: string | null): Command {
  const root = packageRoot();
  return {
    file: findPython(python, root),
    args: ["-m", "kitty_kv.worker", "--pythonia", pythoniaDir(), "--die-with-parent"],
    env: workerEnvironment(root, withoutSlurm(process.env)),
  };
}

function containerWorker(settings: CheckedSettings, python: string | null, scratch: string): Command {
  const worker = [python ?? INSTANCE_PYTHON, "-m", "kitty_kv.worker", "--pythonia", INSIDE.bridge];
  const container = containerArguments(settings, { scratch, programs: programFolders() });
  return {
    file: apptainerProgram(undefined),
    args: ["--silent", "exec", "--pwd", "/", ...container, ...worker, "--die-with-parent"],
    env: { ...apptainerEnvironment(process.env), ...insideEnvironment(null, process.env) },
  };
}

/** SLURM_* of a job that we may be in are not those of the step. */
function withoutSlurm(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !name.startsWith("SLURM_")));
}
