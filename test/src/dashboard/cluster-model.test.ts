import { expect, test } from "vitest";
import {
  nodeKind,
  selectNodes,
  submissionsOf,
  submissionTitle,
  sweepsOf,
  totalsOf,
} from "../../../src/dashboard/model/cluster.js";
import { formatUntil } from "../../../src/dashboard/model/format.js";
import type { WireCluster, WireNode } from "../../../src/server/wire/cluster.js";
import type { JobSummary } from "../../../src/server/wire/jobs.js";

function node(name: string, state: string, isUp: boolean, free: number, partitions = ["debug"]): WireNode {
  const share = { free, total: 4 };
  return { name, state, isUp, partitions, cpus: share, gpus: share, gpuTypes: [], memoryMiB: 1, reason: null };
}

const NODES = [
  node("n1", "idle", true, 4, ["debug", "urgent"]),
  node("n2", "mixed", true, 1),
  node("n3", "idle*", false, 4),
  node("n4", "drained", false, 4),
  node("n5", "allocated", true, 0),
];

test("what is down is not free, and what is in two partitions counts once", () => {
  const submission = { jobId: "1", name: "a", pending: 3, running: 2, ended: 1 };
  const submissions = [{ ...submission, reason: null, expectedStart: null, nodes: [], jobs: [] }];
  const cluster: WireCluster = {
    ...{ cluster: "c", version: "22", hasAccounting: false, partitions: [], nodes: NODES, submissions },
  };
  expect(totalsOf(cluster)).toEqual({
    nodes: { free: 1, total: 5, down: 2 },
    cpus: { free: 5, total: 20 },
    gpus: { free: 5, total: 20 },
    running: 2,
    pending: 3,
  });
  expect(NODES.map(nodeKind)).toEqual(["idle", "used", "down", "down", "used"]);
});

test("nodes are found by partition and by what is free", () => {
  const names = (...args: [string, "all" | "free" | "gpus" | "down"]) =>
    selectNodes(NODES, ...args).map((one) => one.name);
  expect(names("", "all")).toHaveLength(5);
  expect(names("urgent", "all")).toEqual(["n1"]);
  expect(names("", "free")).toEqual(["n1"]);
  expect(names("", "gpus")).toEqual(["n1", "n2"]);
  expect(names("", "down")).toEqual(["n3", "n4"]);
});

test("a submission is called after its sweep, after its job, or as in Slurm", () => {
  const table = new Map<string, JobSummary>();
  const put = (id: string, parent: string | null, name: string | null = null) =>
    table.set(id, { id, parent, name } as JobSummary);
  put("sweep", null, "Matrix");
  for (const id of ["a", "b"]) put(id, "sweep");
  put("c", null, "Alone");
  put("orphan", "gone");
  const title = (jobs: string[], pending: number) => {
    const counts = { jobId: "1", name: "kitty-kv-1-2", pending, running: 0, ended: 0 };
    return submissionTitle({ ...counts, reason: null, expectedStart: null, nodes: [], jobs }, (id) => table.get(id));
  };
  expect(title(["a", "b"], 2)).toEqual({ text: "Matrix", job: "sweep" });
  expect(title(["c"], 1)).toEqual({ text: "Alone", job: "c" });
  expect(title(["a", "c"], 2)).toEqual({ text: "a and 1 more", job: "a" });
  expect(title(["orphan"], 1)).toEqual({ text: "orphan", job: "orphan" });
  expect(title(["unknown"], 1)).toEqual({ text: "kitty-kv-1-2", job: "unknown" });
  expect(title([], 1)).toEqual({ text: "kitty-kv-1-2", job: undefined });
  const submission = { jobId: "1", name: "", pending: 1, running: 0, ended: 0, reason: null, expectedStart: null };
  const all = [["a"], ["c"], []].map((jobs) => ({ ...submission, nodes: [], jobs }));
  const found = (id: string) => submissionsOf(id, all, (other) => table.get(other)).map(({ jobs }) => jobs);
  expect([found("sweep"), found("c"), found("nobody")]).toEqual([[["a"]], [["c"]], []]);
});

test("sweeps that go on are counted by their children, the newest first", () => {
  const job = (id: string, kind: string, state: string, parent: string | null, createdAt = "1") =>
    ({ id, kind, state, parent, createdAt }) as JobSummary;
  const sweeps = sweepsOf([
    ...[job("old", "sweep", "running", null, "1"), job("new", "sweep", "queued", null, "2")],
    job("done", "sweep", "succeeded", null),
    ...[job("a", "eval", "succeeded", "old"), job("b", "eval", "failed", "old"), job("c", "eval", "running", "done")],
    job("d", "eval", "running", null),
  ]);
  expect(sweeps.map(({ sweep, total }) => [sweep.id, total])).toEqual([
    ["new", 0],
    ["old", 2],
  ]);
  expect(sweeps[1]?.counts).toMatchObject({ succeeded: 1, failed: 1, running: 0 });
});

test("a start that is far is told without seconds, and one that is due as such", () => {
  const until = (seconds: number) => formatUntil(seconds * 1000, 0);
  expect([-5, 3, 59, 599, 3596, 90_000].map(until)).toEqual([
    ...["any moment", "any moment", "in 59 s", "in 9 min 59 s", "in 1 h", "in 1 d 1 h"],
  ]);
});
