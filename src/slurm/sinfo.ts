import { parseGres } from "./gres.js";
import { formatOf, orNull, parseRecords } from "./records.js";
import { runSlurm, type SlurmOptions } from "./run-slurm.js";

const FIELDS = [
  ...["NodeList", "Partition", "StateLong", "CPUsState", "Memory", "Gres", "GresUsed", "Time", "Available", "Reason"],
];

/** A node as one of its partitions has it. */
export interface ClusterNode {
  name: string;
  state: string;
  cpus: { allocated: number; idle: number; other: number; total: number };
  memoryMiB: number;
  gpus: { used: number; total: number; types: string[] };
  /** Why it is down or drained. */
  reason: string | null;
}

export interface Partition {
  name: string;
  isDefault: boolean;
  isUp: boolean;
  /** Null is no limit. */
  timeLimitMinutes: number | null;
  nodes: string[];
}

export interface Cluster {
  partitions: Partition[];
  nodes: ClusterNode[];
}

/** Partitions and nodes of the cluster, in one call. */
export async function sinfo(purpose: string, options?: SlurmOptions): Promise<Cluster> {
  const args = ["--Node", "--noheader", "--Format", formatOf(FIELDS)];
  return parseCluster((await runSlurm("sinfo", args, purpose, options)).stdout);
}

/** What `sinfo --Node --Format` wrote with our fields. */
export function parseCluster(text: string): Cluster {
  const partitions = new Map<string, Partition>();
  const nodes = new Map<string, ClusterNode>();
  for (const fields of parseRecords(text, FIELDS.length)) {
    const [name = "", label = "", state = "", cpus = "", memory = "", gres = "", used = "", ...rest] = fields;
    const [time = "", available = "", reason = ""] = rest;
    const partition = partitions.get(label) ?? {
      ...{ name: label.replace(/\*$/, ""), isDefault: label.endsWith("*"), isUp: available === "up" },
      ...{ timeLimitMinutes: parseTimeLimit(time), nodes: [] },
    };
    partition.nodes.push(name);
    partitions.set(label, partition);
    const [allocated = 0, idle = 0, other = 0, total = 0] = cpus.split("/").map(Number);
    const all = parseGres(gres);
    nodes.set(name, {
      ...{ name, state, cpus: { allocated, idle, other, total }, memoryMiB: Number(memory), reason: orNull(reason) },
      gpus: { used: parseGres(used).gpus, total: all.gpus, types: all.types },
    });
  }
  return { partitions: [...partitions.values()], nodes: [...nodes.values()] };
}

/** Minutes of `infinite`, `MM`, `MM:SS`, `HH:MM:SS`, `D-HH`, `D-HH:MM` and `D-HH:MM:SS`; null is no limit. */
export function parseTimeLimit(text: string): number | null {
  const match = /^(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?$/.exec(text.trim());
  if (match === null) return null;
  const [days, a, b, c] = (match.slice(1) as (string | undefined)[]).map((part) =>
    part === undefined ? undefined : Number(part),
  );
  if (days !== undefined) return days * 1440 + (a ?? 0) * 60 + (b ?? 0) + (c ?? 0) / 60;
  if (c !== undefined) return (a ?? 0) * 60 + (b ?? 0) + c / 60;
  return (a ?? 0) + (b ?? 0) / 60;
}
