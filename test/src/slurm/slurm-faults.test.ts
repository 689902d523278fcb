import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "vitest";
import { Kitty, type ConfigInput } from "../../../src/index.js";
import { folder, jobNumber, runningAfter, slow, slurmConfig } from "./slurm-config.js";
import { testCluster } from "./test-cluster.js";

// Side by side, as most of the time is waiting. What a test does to a node it does to one that no other test uses.
const cluster = testCluster({ nodes: 4 });
const POLL = { timeout: 120_000, interval: 200 };
const ON = {
  n1: { directives: ["--nodelist=n1"] },
  n2: { directives: ["--nodelist=n2"] },
  n3or4: { directives: ["--exclude=n1,n2"] },
} satisfies Record<string, ConfigInput["slurm"]>;

/** The states of the jobs that a folder's orchestrator has in Slurm. */
function statesIn(path: string): string[] {
  const lines = cluster.run("squeue", "-h", "-r", "-o", "%T %Z").trim().split("\n");
  return lines.filter((line) => line.includes(path)).map((line) => line.split(" ")[0] ?? "");
}

test.concurrent(
  "a node that dies gives its job to another one, which goes on with what there is",
  async ({ expect, skip, onTestFinished }) => {
    skip(cluster.problem !== undefined, cluster.problem);
    await using kitty = await Kitty.start({ config: slurmConfig(folder(onTestFinished), ON.n3or4) });
    const job = await kitty.jobs.submit(slow(12));
    await runningAfter(expect, job, 2);
    const id = await jobNumber(job);
    const node = cluster.run("squeue", "-h", "-j", id, "-o", "%N").trim();
    cluster.command("kill-node", node);
    onTestFinished(() => {
      cluster.command("start-node", node);
    });
    expect(await job.result()).toMatchObject({ figures: { prompts: 12, succeeded: 12 } });
    const { text } = await job.logs();
    expect(text).toMatch(
      new RegExp(`begins on ${node}\\n[^]*begins on n[34], start 2\\n[^]*12 prompts, [1-9]\\d* of them`),
    );
    expect(text).not.toMatch(new RegExp(`begins on ${node}, start 2`));
    expect((await job.refresh()).attempt).toBe(1);
  },
  240_000,
);

test.concurrent(
  "a preempted job waits, goes on where it was, and that is no failure",
  async ({ expect, skip, onTestFinished }) => {
    skip(cluster.problem !== undefined, cluster.problem);
    await using kitty = await Kitty.start({ config: slurmConfig(folder(onTestFinished), ON.n2) });
    const job = await kitty.jobs.submit(slow(14));
    await runningAfter(expect, job, 2);
    const id = await jobNumber(job);
    const urgent = ["--partition=urgent", "--nodelist=n2", "--exclusive", "--output=/dev/null", "--wrap=sleep 2"];
    cluster.run("sbatch", ...urgent);
    await expect.poll(() => cluster.run("squeue", "-h", "-j", id, "-o", "%T").trim(), POLL).toBe("PENDING");
    expect(await job.result()).toMatchObject({ figures: { prompts: 14, succeeded: 14 } });
    expect((await job.logs()).text).toMatch(/waits: [^]*start 2\n[^]*14 prompts, [1-9]\d* of them done before/);
    expect(await job.refresh()).toMatchObject({ state: "succeeded", attempt: 1 });
  },
  240_000,
);

test.concurrent(
  "scancel by somebody else cancels the job, and says so",
  async ({ expect, skip, onTestFinished }) => {
    skip(cluster.problem !== undefined, cluster.problem);
    await using kitty = await Kitty.start({ config: slurmConfig(folder(onTestFinished), ON.n1) });
    const job = await kitty.jobs.submit(slow(100));
    await runningAfter(expect, job, 1);
    const id = await jobNumber(job);
    cluster.run("scancel", id);
    expect(await job.wait()).toMatchObject({
      state: "cancelled",
      error: { message: expect.stringMatching(/Slurm says CANCELLED/) as string },
    });
  },
  240_000,
);

test.concurrent(
  "cancel takes what runs and what waits out of Slurm",
  async ({ expect, skip, onTestFinished }) => {
    skip(cluster.problem !== undefined, cluster.problem);
    const path = folder(onTestFinished);
    await using kitty = await Kitty.start({ config: slurmConfig(path, { ...ON.n1, arrayParallel: 1 }) });
    const sweep = await kitty.jobs.submit({
      kind: "sweep",
      params: { base: slow(100), matrix: { maxNewTokens: [1, 2, 3] } },
    });
    await expect.poll(() => statesIn(path), POLL).toContain("RUNNING");
    await sweep.cancel();
    expect(await sweep.wait()).toMatchObject({ state: "cancelled" });
    await expect.poll(() => statesIn(path), POLL).toEqual([]);
  },
  240_000,
);

test.concurrent(
  "an orchestrator that is killed finds its jobs again, those that ended meanwhile too",
  async ({ expect, skip, onTestFinished }) => {
    skip(cluster.problem !== undefined, cluster.problem);
    const path = folder(onTestFinished);
    const config = join(path, "config.json");
    writeFileSync(config, JSON.stringify(slurmConfig(path, ON.n1)));
    const runner = fileURLToPath(new URL("../../fixtures/slurm-orchestrator.ts", import.meta.url));
    const child = spawn(process.execPath, ["--import", "tsx", runner, config], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [ids] = (await once(child.stdout, "data")) as [Buffer];
    const [short = "", long = ""] = ids.toString().trim().split(" ");
    await expect.poll(() => statesIn(path), POLL).toEqual(["RUNNING", "RUNNING"]);
    child.kill("SIGKILL");
    await once(child, "exit");
    // The short one ends while nobody looks.
    await expect.poll(() => statesIn(path), POLL).toEqual(["RUNNING"]);
    await using kitty = await Kitty.start({ config });
    for (const [id, prompts] of [
      [short, 4],
      [long, 24],
    ] as const) {
      const job = await kitty.jobs.get(id);
      expect(await job.result()).toMatchObject({ figures: { prompts, succeeded: prompts } });
      // Once each: nothing was submitted again.
      expect(readFileSync(join(path, "jobs", id, "slurm", "starts"), "utf8").match(/start/g)).toHaveLength(1);
    }
  },
  240_000,
);

test.concurrent(
  "a job at its time limit keeps what it has, goes back into the queue and goes on",
  async ({ expect, skip, onTestFinished }) => {
    skip(cluster.problem !== undefined, cluster.problem);
    await using kitty = await Kitty.start({ config: slurmConfig(folder(onTestFinished), ON.n1) });
    const job = await kitty.jobs.submit({
      ...slow(70),
      resources: { timeLimitMinutes: 1 },
      retry: { maxAttempts: 30 },
    });
    expect(await job.wait()).toMatchObject({
      state: "succeeded",
      attempt: 1,
      result: { figures: { succeeded: 70 } },
    });
    expect((await job.logs()).text).toMatch(
      /its time is nearly over[^]*start 2\n[^]*70 prompts, [1-9]\d* of them done before/,
    );
  },
  300_000,
);
