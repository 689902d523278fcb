import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { userInfo } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { apptainerProgram } from "../apptainer/apptainer.js";
import type { Config } from "../config/schema.js";
import { batchScript } from "../slurm/batch-script.js";
import { quoteForShell } from "../slurm/quote.js";
import { SlurmError } from "../slurm/run-slurm.js";
import { sbatch } from "../slurm/sbatch.js";
import { scancel } from "../slurm/scancel.js";
import { squeue, type KnownJob } from "../slurm/squeue.js";
import { findPython } from "./find-python.js";
import { packageRoot } from "./package-root.js";
import { writeWhole } from "./slurm-files.js";
import { nodeConfig, sharedFolder } from "./slurm-node-config.js";
import { needsOf, programFile } from "./slurm-request.js";

const LOOK_MS = 200;
// What Slurm puts into a signal's place; see describeExit.
const NO_FOLDER_SIGNAL = 53;
// Most answer sooner.
const FIRST_LOOK_AT_SLURM_MS = 3000;
const LOOK_AT_SLURM_MS = 2000;

export interface NodeProbe {
  /** The node that answered; null when none did in time. */
  node: string | null;
  /** Paths and programs that it does not have. */
  missing: string[];
}

/**
 * Runs a job of a second that looks whether a compute node has what jobs need, and takes it out of the queue when it has
 * not begun in time.
 * @throws SlurmError, ConfigError, KittyError `shared_folder`
 */
export async function probeNode(config: Config, timeoutMs: number): Promise<NodeProbe> {
  const name = `kitty-kv-probe-${randomBytes(4).toString("hex")}`;
  const folder = join(sharedFolder(config), "slurm", name);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  let jobId: string | undefined;
  try {
    const placed = { name, comment: name, folder, outputFile: "out.txt", isRequeued: false };
    const request = { ...needsOf(config.slurm), ...placed, timeLimitMinutes: 1, signalSeconds: null };
    const command = ["bash", "-c", probeScript(config), "probe"];
    const script = join(folder, "script.sh");
    writeWhole(script, batchScript({ request, command, setup: config.slurm.setup, teardown: [] }));
    ({ jobId } = await sbatch(script, "try a compute node"));
    return await waitForAnswer(folder, jobId, timeoutMs);
  } finally {
    // It may be in the queue although nobody told us its number.
    await scancel(jobId === undefined ? [`--name=${name}`, "--quiet"] : [jobId]).catch(ignoreSlurm);
    rmSync(folder, { recursive: true, force: true });
  }
}

async function waitForAnswer(folder: string, jobId: string, timeoutMs: number): Promise<NodeProbe> {
  let nextLook = performance.now() + FIRST_LOOK_AT_SLURM_MS;
  for (const end = performance.now() + timeoutMs; performance.now() < end;) {
    // Read as a list, since a network file system remembers for a while that a file was not there.
    if (readdirSync(folder).includes("answer")) {
      const [node = "", ...missing] = readFileSync(join(folder, "answer"), "utf8").trimEnd().split("\n");
      return { node, missing };
    }
    await sleep(LOOK_MS);
    if (performance.now() < nextLook) continue;
    nextLook = performance.now() + LOOK_AT_SLURM_MS;
    const failed = await failedJob(jobId);
    if (failed === undefined || readdirSync(folder).includes("answer")) continue;
    if (failed.exit?.signal === NO_FOLDER_SIGNAL) return { node: failed.nodes, missing: [dirname(folder)] };
    // The site's own lines may fail as well, which the job itself will say.
    break;
  }
  return { node: null, missing: [] };
}

async function failedJob(jobId: string): Promise<KnownJob | undefined> {
  const jobs = await squeue(userInfo().username, "try a compute node").catch(ignoreSlurm);
  return jobs?.find(({ id, state }) => id === jobId && state.end === "failed");
}

/** Slurm that does not answer now says nothing about nodes. */
function ignoreSlurm(error: unknown): undefined {
  if (!(error instanceof SlurmError)) throw error;
}

/** One line with the node's name, then one for each thing that it lacks. */
function probeScript(config: Config): string {
  const { apptainer, runner, worker } = nodeConfig(config);
  const isInContainer = runner === "apptainer";
  const paths = [
    programFile(),
    ...(isInContainer ? [apptainer.image ?? "", apptainer.overlay ?? ""] : [findPython(worker.python, packageRoot())]),
  ];
  const programs = [config.slurm.node ?? process.execPath, ...(isInContainer ? [apptainerProgram(undefined)] : [])];
  const checks = [
    ...paths.map((path) => `[ -r ${quoteForShell(path)} ] || printf '%s\\n' ${quoteForShell(path)}`),
    ...programs.map((name) => `command -v ${quoteForShell(name)} >/dev/null || printf '%s\\n' ${quoteForShell(name)}`),
  ];
  return [`{ echo "\${SLURMD_NODENAME:-$(hostname)}"`, ...checks, "} > answer.new && mv answer.new answer"].join("\n");
}
