import { createHash } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import type { Config } from "../config/schema.js";
import { ConfigError, KittyError } from "../errors.js";
import { SlurmError } from "../slurm/run-slurm.js";
import { packageRoot } from "./package-root.js";
import { writeWhole } from "./slurm-files.js";
import { nodeConfig, sharedFolder } from "./slurm-node-config.js";
import { probeNode, type NodeProbe } from "./slurm-probe.js";

// Whoever submits the first job waits for so long for a node; where none is free, the task looks itself.
const WAIT_MS = 10_000;
const GOOD_MS = 24 * 3_600_000;
// A queue that is long now is so for a while.
const UNKNOWN_MS = 600_000;
const MOST_REMEMBERED = 100;

const memorySchema = z.record(z.string(), z.object({ atMs: z.number(), node: z.string().nullable() }));
type Memory = z.output<typeof memorySchema>;

/** What compute nodes see of what jobs need: tried by a job of a second, and remembered in the shared folder. */
export class NodeSight {
  readonly #probing = new Map<string, Promise<NodeProbe>>();

  /**
   * Makes sure that nodes see the image, the overlay and this package, as far as a node answers soon.
   * @throws ConfigError `not_on_nodes`
   */
  async check(config: Config): Promise<void> {
    const key = keyOf(config);
    const path = join(sharedFolder(config), "slurm", "seen.json");
    const known = readMemory(path)[key];
    const age = Date.now() - (known?.atMs ?? -Infinity);
    if (known !== undefined && age >= 0 && age < (known.node === null ? UNKNOWN_MS : GOOD_MS)) return;
    const probing = this.#probing.get(key) ?? this.#probe(config, key);
    const { node, missing } = await probing;
    if (missing.length > 0) throw notOnNodes(node, missing);
    remember(path, key, node);
  }

  #probe(config: Config, key: string): Promise<NodeProbe> {
    const probing = tryNode(config).finally(() => this.#probing.delete(key));
    this.#probing.set(key, probing);
    return probing;
  }
}

/** What to do about what nodes do not see. */
export const SIGHT_REMEDY =
  'put it where compute nodes see it under the same path, load its module in slurm.setup, or set slurm.node; "kitty-kv doctor" tries it';

/** That something that jobs need is not where nodes look for it. */
export function notOnNodes(node: string | null, missing: readonly string[], attempt = "submit this job"): ConfigError {
  const where = node === null ? "compute nodes do" : `the compute node ${node} does`;
  return new ConfigError(`Cannot ${attempt}: ${where} not have ${missing.join(", ")}; ${SIGHT_REMEDY}`, {
    code: "not_on_nodes",
    details: { node, missing },
  });
}

/** Slurm that does not answer, or takes no more jobs now, says nothing about nodes. */
async function tryNode(config: Config): Promise<NodeProbe> {
  try {
    return await probeNode(config, WAIT_MS);
  } catch (error) {
    if (error instanceof SlurmError) return { node: null, missing: [] };
    throw error;
  }
}

/** Changes with what is looked for, and with where. */
function keyOf(config: Config): string {
  const { partition, account, qos, constraint, gres, directives, setup, node, container } = config.slurm;
  const { apptainer, worker } = nodeConfig(config);
  const files = container === "apptainer" ? [apptainer.image, apptainer.overlay] : [worker.python];
  const versions = files.map((file) => {
    const found = file === null ? undefined : statSync(file, { throwIfNoEntry: false });
    return [file, found?.mtimeMs, found?.size];
  });
  const where = { partition, account, qos, constraint, gres, directives, setup, node, container };
  return createHash("sha256")
    .update(JSON.stringify([where, versions, packageRoot(), process.execPath]))
    .digest("hex")
    .slice(0, 16);
}

function readMemory(path: string): Memory {
  try {
    return memorySchema.parse(JSON.parse(readFileSync(path, "utf8")));
  } catch {
    // None yet, or not whole: then it is tried again, which costs a second.
    return {};
  }
}

function remember(path: string, key: string, node: string | null): void {
  const others = Object.entries(readMemory(path)).filter(([name]) => name !== key);
  const latest = others.sort(([, a], [, b]) => b.atMs - a.atMs).slice(0, MOST_REMEMBERED - 1);
  try {
    writeWhole(path, JSON.stringify({ ...Object.fromEntries(latest), [key]: { atMs: Date.now(), node } }));
  } catch (error) {
    // A full disk; the job's own files will say so.
    if (!(error instanceof KittyError)) throw error;
  }
}
