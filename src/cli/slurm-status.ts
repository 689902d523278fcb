import type { ClusterStatus, OwnSubmission, PartitionStatus, SubmissionStatus } from "../index.js";

/** The cluster for people: a line a partition, a line a submission. */
export function toClusterText({ cluster, version, partitions, submissions }: ClusterStatus): string {
  const rows = [["PARTITION", "LIMIT", "NODES IDLE", "CPUS FREE", "GPUS FREE"], ...partitions.map(toRow)];
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const table = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
  const jobs = submissions.length === 0 ? ["You have no jobs in the queue."] : submissions.map(toJobLine);
  return [`Cluster ${cluster}, Slurm ${version}`, ...table, "", ...jobs].join("\n");
}

function toRow({ name, isDefault, isUp, timeLimitMinutes, nodes, cpus, gpus, gpuTypes }: PartitionStatus): string[] {
  const share = ({ free, total }: { free: number; total: number }): string => `${String(free)} of ${String(total)}`;
  const down = nodes.down === 0 ? "" : `, ${String(nodes.down)} down`;
  const types = gpuTypes.length === 0 ? "" : ` (${gpuTypes.join(", ")})`;
  const limit = timeLimitMinutes === null ? "none" : `${String(timeLimitMinutes)} min`;
  const label = `${name}${isDefault ? "*" : ""}${isUp ? "" : " (not up)"}`;
  return [label, limit, `${share(nodes)}${down}`, share(cpus), gpus.total === 0 ? "-" : `${share(gpus)}${types}`];
}

/** A submission in one line: by its jobs where they are ours. */
export function toJobLine(submission: SubmissionStatus & Partial<OwnSubmission>): string {
  const { jobId, name, pending, running, ended, reason, expectedStart, nodes, jobs = [] } = submission;
  const total = pending + running + ended;
  const count = total === 1 ? "" : ` ${String(ended)}/${String(total)} done,`;
  const where = nodes.length === 0 ? "" : ` on ${nodes.join(", ")}`;
  const runs = running === 0 ? "" : ` ${total === 1 ? "runs" : `${String(running)} run`}${where}`;
  const waits =
    pending === 0 ? "" : ` ${total === 1 ? "waits" : `${String(pending)} wait`}: ${reason ?? "no reason yet"}`;
  const when = expectedStart === null ? "" : `, expected to start at ${expectedStart}`;
  const parts = [runs, waits].filter((part) => part !== "").join(",");
  const [first] = jobs;
  const others = total === 1 ? "" : ` and ${String(total - 1)} more`;
  const label = first === undefined ? name : `job ${first}${others}`;
  return `${jobId}  ${label} ${count}${parts}${when}`.replaceAll(/ {2,}(?=\S)/g, "  ");
}
