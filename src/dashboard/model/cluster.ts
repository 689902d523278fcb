import type { WireCluster, WireNode, WireSubmission } from "../../server/wire/cluster.js";
import type { JobState, JobSummary } from "../../server/wire/jobs.js";
import { hasEnded } from "./job-table.js";

export interface Totals {
  nodes: { free: number; total: number; down: number };
  cpus: { free: number; total: number };
  gpus: { free: number; total: number };
  running: number;
  pending: number;
}

/** The whole cluster; nodes that are in several partitions count once. */
export function totalsOf({ nodes, submissions }: WireCluster): Totals {
  const up = nodes.filter(({ isUp }) => isUp);
  const sum = <T>(of: readonly T[], value: (one: T) => number): number =>
    of.reduce((total, one) => total + value(one), 0);
  return {
    nodes: { free: up.filter(isIdle).length, total: nodes.length, down: nodes.length - up.length },
    cpus: { free: sum(up, ({ cpus }) => cpus.free), total: sum(nodes, ({ cpus }) => cpus.total) },
    gpus: { free: sum(up, ({ gpus }) => gpus.free), total: sum(nodes, ({ gpus }) => gpus.total) },
    running: sum(submissions, (one) => one.running),
    pending: sum(submissions, (one) => one.pending),
  };
}

/** What a node can be used for now, as one of the page's own kinds. */
export function nodeKind(node: WireNode): "idle" | "used" | "down" {
  if (!node.isUp) return "down";
  return isIdle(node) ? "idle" : "used";
}

export const NODE_FILTERS = ["all", "free", "gpus", "down"] as const;
export type NodeFilter = (typeof NODE_FILTERS)[number];

/** The nodes of a partition, all or of one kind. */
export function selectNodes(nodes: readonly WireNode[], partition: string, filter: NodeFilter): WireNode[] {
  return nodes.filter((node) => (partition === "" || node.partitions.includes(partition)) && FILTERS[filter](node));
}

const FILTERS: Readonly<Record<NodeFilter, (node: WireNode) => boolean>> = {
  all: () => true,
  free: isIdle,
  gpus: ({ isUp, gpus }) => isUp && gpus.free > 0,
  down: ({ isUp }) => !isUp,
};

function isIdle({ isUp, state }: WireNode): boolean {
  return isUp && state.toLowerCase().startsWith("idle");
}

/** What a submission is called: by the sweep or the job that it is of, else as in Slurm. */
export function submissionTitle(
  { name, jobs, pending, running, ended }: WireSubmission,
  find: (id: string) => JobSummary | undefined,
): { text: string; job: string | undefined } {
  const first = jobs[0] === undefined ? undefined : find(jobs[0]);
  if (first === undefined) return { text: name, job: jobs[0] };
  const parent = first.parent === null ? undefined : find(first.parent);
  // An array may have children of several sweeps that were submitted together.
  if (parent !== undefined && jobs.every((id) => find(id)?.parent === parent.id)) {
    return { text: parent.name ?? parent.id, job: parent.id };
  }
  const others = pending + running + ended - 1;
  const more = others < 1 ? "" : ` and ${String(others)} more`;
  return { text: `${first.name ?? first.id}${more}`, job: first.id };
}

/** The submissions that a job is a task of; of a sweep, those of its children. */
export function submissionsOf(
  id: string,
  submissions: readonly WireSubmission[],
  find: (id: string) => JobSummary | undefined,
): WireSubmission[] {
  return submissions.filter(({ jobs }) => jobs.some((job) => job === id || find(job)?.parent === id));
}

export interface SweepProgress {
  sweep: JobSummary;
  /** Its children by what became of them. */
  counts: Readonly<Record<JobState, number>>;
  total: number;
}

/** Sweeps that go on, the newest first. */
export function sweepsOf(jobs: Iterable<JobSummary>): SweepProgress[] {
  const all = [...jobs];
  const going = all.filter(({ kind, state }) => kind === "sweep" && !hasEnded(state));
  const found = new Map(going.map((sweep) => [sweep.id, { sweep, counts: none(), total: 0 }]));
  for (const { parent, state } of all) {
    const progress = parent === null ? undefined : found.get(parent);
    if (progress === undefined) continue;
    progress.counts[state] += 1;
    progress.total += 1;
  }
  return [...found.values()].sort((a, b) => (a.sweep.createdAt < b.sweep.createdAt ? 1 : -1));
}

function none(): Record<JobState, number> {
  return { queued: 0, starting: 0, running: 0, succeeded: 0, failed: 0, cancelled: 0, timed_out: 0 };
}
