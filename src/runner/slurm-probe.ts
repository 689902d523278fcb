import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { apptainerProgram } from "../apptainer/apptainer.js";
import type { Config } from "../config/schema.js";
import { batchScript } from "../slurm/batch-script.js";
import { quoteForShell } from "../slurm/quote.js";
import { sbatch } from "../slurm/sbatch.js";
import { scancel } from "../slurm/scancel.js";
import { findPython } from "./find-python.js";
import { packageRoot } from "./package-root.js";
import { writeWhole } from "./slurm-files.js";
import { nodeConfig, sharedFolder } from "./slurm-node-config.js";
import { needsOf } from "./slurm-request.js";

const LOOK_MS = 200;

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
    const answer = await waitForFile(join(folder, "answer"), timeoutMs);
    if (answer === undefined) return { node: null, missing: [] };
    const [node = "", ...missing] = answer.trimEnd().split("\n");
    return { node, missing };
  } finally {
    if (jobId !== undefined) await scancel([jobId]);
    rmSync(folder, { recursive: true, force: true });
  }
}

/** One line with the node's name, then one for each thing that it lacks. */
function probeScript(config: Config): string {
  const { apptainer, runner, worker } = nodeConfig(config);
  const isInContainer = runner === "apptainer";
  const paths = [
    join(packageRoot(), "dist", "cli", "main.js"),
    ...(isInContainer ? [apptainer.image ?? "", apptainer.overlay ?? ""] : [findPython(worker.python, packageRoot())]),
  ];
  const programs = [config.slurm.node ?? process.execPath, ...(isInContainer ? [apptainerProgram(undefined)] : [])];
  const checks = [
    ...paths.map((path) => `[ -r ${quoteForShell(path)} ] || printf '%s\\n' ${quoteForShell(path)}`),
    ...programs.map((name) => `command -v ${quoteForShell(name)} >/dev/null || printf '%s\\n' ${quoteForShell(name)}`),
  ];
  return [`{ echo "\${SLURMD_NODENAME:-$(hostname)}"`, ...checks, "} > answer.new && mv answer.new answer"].join("\n");
}

async function waitForFile(path: string, timeoutMs: number): Promise<string | undefined> {
  for (const end = performance.now() + timeoutMs; performance.now() < end;) {
    if (existsSync(path)) return readFileSync(path, "utf8");
    await sleep(LOOK_MS);
  }
  return undefined;
}
