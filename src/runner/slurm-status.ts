import { userInfo } from "node:os";
import { siteConfig, type SiteConfig } from "../slurm/scontrol.js";
import { sinfo, type ClusterNode, type Partition } from "../slurm/sinfo.js";
import { squeue } from "../slurm/squeue.js";

/** Free and all of something. */
export interface Share {
  free: number;
  total: number;
}

export interface PartitionStatus extends Omit<Partition, "nodes"> {
  nodes: Share & { down: number };
  cpus: Share;
  gpus: Share;
  gpuTypes: string[];
}

export interface NodeStatus {
  name: string;
  /** In Slurm's word, such as `idle`, `mixed` or `down*`. */
  state: string;
  isUp: boolean;
  partitions: string[];
  cpus: Share;
  gpus: Share;
  gpuTypes: string[];
  memoryMiB: number;
  /** Why it is down or drained. */
  reason: string | null;
}

/** A submission of this user: a job, or the tasks of an array together. */
export interface SubmissionStatus {
  jobId: string;
  name: string;
  pending: number;
  running: number;
  ended: number;
  /** Why those wait that do. */
  reason: string | null;
  /** ISO 8601; when the next of them is expected to start. */
  expectedStart: string | null;
  nodes: string[];
}

export interface ClusterStatus extends Pick<SiteConfig, "cluster" | "version" | "hasAccounting"> {
  partitions: PartitionStatus[];
  nodes: NodeStatus[];
  /** Those that have not ended wholly. */
  submissions: SubmissionStatus[];
}

/**
 * The cluster and this user's jobs in it, as Slurm sees them now.
 * @throws NotFoundError `slurm_not_found`; SlurmError
 */
export async function clusterStatus(): Promise<ClusterStatus> {
  const purpose = "look at the cluster";
  const [{ cluster, version, hasAccounting }, { partitions, nodes }, submissions] = await Promise.all([
    siteConfig(purpose),
    sinfo(purpose),
    ownSubmissions(purpose),
  ]);
  const byName = new Map(nodes.map((node) => [node.name, node]));
  return {
    ...{ cluster, version, hasAccounting, submissions },
    // sinfo gives them in another order each time.
    partitions: partitions.map((one) => toStatus(one, byName)).sort(byDefaultAndName),
    nodes: nodes.map((node) => toNodeStatus(node, partitions)).sort(byOwnName),
  };
}

function toStatus(
  { nodes: names, ...partition }: Partition,
  byName: ReadonlyMap<string, ClusterNode>,
): PartitionStatus {
  const nodes = names.flatMap((name) => byName.get(name) ?? []);
  const up = nodes.filter(isUp);
  const sum = (of: readonly ClusterNode[], value: (node: ClusterNode) => number): number =>
    of.reduce((total, node) => total + value(node), 0);
  return {
    ...partition,
    nodes: {
      free: up.filter(({ state }) => state.startsWith("idle")).length,
      total: nodes.length,
      down: nodes.length - up.length,
    },
    cpus: { free: sum(up, ({ cpus }) => cpus.idle), total: sum(nodes, ({ cpus }) => cpus.total) },
    gpus: { free: sum(up, ({ gpus }) => gpus.total - gpus.used), total: sum(nodes, ({ gpus }) => gpus.total) },
    gpuTypes: [...new Set(nodes.flatMap(({ gpus }) => gpus.types))],
  };
}

function byDefaultAndName(a: PartitionStatus, b: PartitionStatus): number {
  return Number(b.isDefault) - Number(a.isDefault) || byOwnName(a, b);
}

function byOwnName(a: { name: string }, b: { name: string }): number {
  return a.name.localeCompare(b.name, "en", { numeric: true });
}

/** Whether it takes work now. */
function isUp({ state }: ClusterNode): boolean {
  return !/down|drain|fail|maint|unknown|no_respond|\*$/i.test(state);
}

function toNodeStatus(node: ClusterNode, partitions: readonly Partition[]): NodeStatus {
  const { name, state, cpus, gpus, memoryMiB, reason } = node;
  const works = isUp(node);
  return {
    ...{ name, state, isUp: works, memoryMiB, reason, gpuTypes: gpus.types },
    partitions: partitions
      .filter(({ nodes }) => nodes.includes(name))
      .map((partition) => partition.name)
      .sort(),
    cpus: { free: works ? cpus.idle : 0, total: cpus.total },
    gpus: { free: works ? gpus.total - gpus.used : 0, total: gpus.total },
  };
}

async function ownSubmissions(purpose: string): Promise<SubmissionStatus[]> {
  const byId = new Map<string, SubmissionStatus>();
  for (const { jobId, name, state, reason, start, nodes } of await squeue(userInfo().username, purpose)) {
    const known = byId.get(jobId) ?? {
      ...{ jobId, name, pending: 0, running: 0, ended: 0, reason: null, expectedStart: null, nodes: [] },
    };
    known[state.phase] += 1;
    if (state.phase === "pending") {
      known.reason ??= reason?.text ?? null;
      const expected = start?.toISOString() ?? null;
      if (expected !== null && (known.expectedStart === null || expected < known.expectedStart))
        known.expectedStart = expected;
    }
    if (state.phase === "running" && nodes !== null && !known.nodes.includes(nodes)) known.nodes.push(nodes);
    byId.set(jobId, known);
  }
  return [...byId.values()].filter(({ pending, running }) => pending + running > 0);
}
