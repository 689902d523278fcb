import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { toClusterText } from "../../../src/cli/slurm-status.js";
import { checkSlurm } from "../../../src/cli/doctor/check-slurm.js";
import { clusterStatus, Kitty, resolveConfig } from "../../../src/index.js";
import { ClusterView } from "../../../src/orchestrator/cluster-view.js";
import { clusterSchema } from "../../../src/server/wire/cluster.js";
import { startTestServer } from "../server/test-server.js";
import { folder, slow, slurmConfig } from "./slurm-config.js";
import { testCluster } from "./test-cluster.js";

const cluster = testCluster({ nodes: 2 });
const POLL = { timeout: 20_000, interval: 200 };

test("the cluster's view counts nodes, CPUs, GPUs and the tasks of one's own arrays", async ({ skip }) => {
  skip(cluster.problem !== undefined, cluster.problem);
  const args = ["--parsable", "--array=0-4%1", "--gres=gpu:toy:1", "--job-name=mine", "--output=/dev/null"];
  const id = cluster.run("sbatch", ...args, "--wrap=sleep 30").trim();
  await expect.poll(() => cluster.run("squeue", "-h", "-t", "R", "-o", "%i").trim(), POLL).toMatch(/_0$/);
  const status = await clusterStatus();
  const [debug] = status.partitions;
  expect(debug).toMatchObject({
    name: "debug",
    isDefault: true,
    nodes: { free: 1, total: 2, down: 0 },
    gpuTypes: ["toy"],
  });
  expect(debug?.gpus).toEqual({ free: 1, total: 2 });
  expect(status.submissions).toMatchObject([{ jobId: id, name: "mine", running: 1, pending: 4, ended: 0 }]);
  expect(toClusterText(status)).toMatch(
    /debug\* +none +1 of 2 .*1 of 2 \(toy\)[^]*mine +0\/5 done, 1 run on n[12], 4 wait: waiting for other tasks/,
  );
  expect(
    status.nodes.map(({ name, isUp, partitions, cpus, gpus }) => ({ name, isUp, partitions, cpus, gpus })),
  ).toEqual(
    expect.arrayContaining([
      {
        ...{ name: status.submissions[0]?.nodes[0], isUp: true },
        partitions: expect.arrayContaining(["debug", "urgent"]) as string[],
        cpus: { free: expect.any(Number) as number, total: expect.any(Number) as number },
        gpus: { free: 0, total: 1 },
      },
    ]),
  );
  cluster.run("scancel", id);
  await expect.poll(() => cluster.run("squeue", "-h"), POLL).toBe("");
});

test("doctor tries a job on a node and names what the node does not have", async ({ skip }) => {
  skip(cluster.problem !== undefined, cluster.problem);
  const config = (slurm: object) => resolveConfig(slurmConfig(folder(), slurm));
  const good = await checkSlurm(config({}));
  expect(good.map(({ name, status }) => [name, status])).toEqual([
    ["slurm", "ok"],
    ["slurm partitions", "ok"],
    ["slurm job", "ok"],
  ]);
  const bad = await checkSlurm(config({ node: "/opt/no such node" }));
  expect(bad.at(-1)).toMatchObject({
    status: "failed",
    found: expect.stringMatching(/^n[12] does not have \/opt\/no such node$/) as string,
  });
  const refused = await checkSlurm(config({ partition: "nope" }));
  expect(refused.at(-1)).toMatchObject({
    status: "failed",
    found: expect.stringMatching(/Invalid partition/) as string,
  });
  await expect.poll(() => cluster.run("squeue", "-h"), POLL).toBe("");
});

test("an array is told with its jobs, why its tasks wait, and which priority they were given", async ({ skip }) => {
  skip(cluster.problem !== undefined, cluster.problem);
  const path = folder();
  const slurm = { arrayParallel: 1, raisePriority: true };
  await using kitty = await Kitty.start({ config: slurmConfig(path, slurm) });
  const sweep = await kitty.jobs.submit({
    ...{ kind: "sweep", priority: 700 },
    params: { base: { ...slow(60), priority: 700 }, matrix: { maxNewTokens: [1, 2, 3] } },
  });
  const view = () => new ClusterView(resolveConfig(slurmConfig(path, slurm))).status();
  const told = { running: 1, pending: 2, ended: 0, jobs: [1, 2, 3].map(() => expect.stringMatching(/^j/) as string) };
  await expect.poll(async () => (await view()).submissions, POLL).toMatchObject([told]);
  expect(new Set(cluster.run("squeue", "-h", "-r", "-O", "Nice:20").trim().split(/\s+/))).toEqual(new Set(["-700"]));
  const config = join(path, "c.json");
  writeFileSync(config, JSON.stringify(slurmConfig(path, slurm)));
  const cli = [join(import.meta.dirname, "../../../dist/cli/main.js"), "job", "show", sweep.id, "-c", config];
  const shown = spawnSync(process.execPath, cli, { encoding: "utf8" });
  expect(JSON.parse(shown.stdout)).toMatchObject({ id: sweep.id, state: "running", slurm: [told] });
  expect(shown.stderr).toMatch(
    new RegExp(
      `Slurm job \\d+ +job j[0-9a-f]+ and 2 more +0/3 done, 1 run on n[12], 2 wait: waiting for other tasks of its array`,
    ),
  );
  await sweep.cancel();
  await sweep.wait();
});

test("HTTP tells the same to any number of viewers, and that Slurm does not answer", async ({ skip }) => {
  skip(cluster.problem !== undefined, cluster.problem);
  await using running = await startTestServer({ isLoaded: false, config: slurmConfig(folder()) });
  const read = async () => {
    const response = await running.ask("/api/cluster");
    return { status: response.status, body: (await response.json()) as object };
  };
  const seen = await Promise.all(Array.from({ length: 20 }, read));
  const told = z.strictObject(clusterSchema.shape).parse(seen[0]?.body);
  const own = await clusterStatus();
  // Whose jobs a submission has is the server's to add; these are nobody's it knows.
  expect(told).toEqual({ ...own, submissions: own.submissions.map((one) => ({ ...one, jobs: [] })) });
  expect(new Set(seen.map((one) => JSON.stringify(one))).size).toBe(1);
  cluster.command("stop-ctld");
  onTestFinished(() => {
    cluster.command("start-ctld");
  });
  const message = expect.stringContaining("Cannot look at the cluster") as string;
  const body = { error: { code: "slurm_unreachable", message } };
  await expect.poll(read, { ...POLL, timeout: 40_000 }).toMatchObject({ status: 503, body });
});
