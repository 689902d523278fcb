import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test, vi } from "vitest";
import { Kitty, type JobHandle } from "../../../src/index.js";
import { folder, generate, slow, slurmConfig } from "./slurm-config.js";
import { testCluster } from "./test-cluster.js";

const cluster = testCluster({ nodes: 4 });
const POLL = { timeout: 60_000, interval: 200 };

async function runningAfter(job: JobHandle, prompts: number): Promise<string> {
  await expect.poll(async () => (await job.refresh()).progress?.done ?? 0, POLL).toBeGreaterThanOrEqual(prompts);
  return /it is Slurm job (\d+)/.exec((await job.logs()).text)?.[1] ?? "";
}

test("slurmctld that is away while jobs run and are submitted costs nothing but time", async ({ skip }) => {
  skip(cluster.problem !== undefined, cluster.problem);
  const path = folder();
  await using kitty = await Kitty.start({ config: slurmConfig(path) });
  const running = await kitty.jobs.submit(slow(10));
  await runningAfter(running, 1);
  cluster.command("stop-ctld");
  const waiting = await kitty.jobs.submit(generate(["x"]));
  // It ends while nobody can be asked about it.
  expect(await running.result()).toMatchObject({ figures: { prompts: 10, failed: 0 } });
  await expect
    .poll(async () => (await waiting.logs()).text, POLL)
    .toMatch(/Unable to contact slurm controller.*going on in/);
  expect((await waiting.refresh()).state).toBe("starting");
  cluster.command("start-ctld");
  expect(await waiting.result()).toMatchObject({ figures: { prompts: 1 } });
});

test("a node that dies gives its job to another one, which goes on with what there is", async ({ skip }) => {
  skip(cluster.problem !== undefined, cluster.problem);
  await using kitty = await Kitty.start({ config: slurmConfig(folder()) });
  const job = await kitty.jobs.submit(slow(12));
  const id = await runningAfter(job, 2);
  const node = cluster.run("squeue", "-h", "-j", id, "-o", "%N").trim();
  cluster.command("kill-node", node);
  onTestFinished(() => {
    cluster.command("start-node", node);
  });
  expect(await job.result()).toMatchObject({ figures: { prompts: 12, succeeded: 12 } });
  const { text } = await job.logs();
  expect(text).toMatch(
    new RegExp(`begins on ${node}\\n[^]*begins on n[1-4], start 2\\n[^]*12 prompts, [1-9]\\d* of them`),
  );
  expect(text).not.toMatch(new RegExp(`begins on ${node}, start 2`));
  expect((await job.refresh()).attempt).toBe(1);
}, 120_000);

test("a preempted job waits, goes on where it was, and that is no failure", async ({ skip }) => {
  skip(cluster.problem !== undefined, cluster.problem);
  await using kitty = await Kitty.start({ config: slurmConfig(folder()) });
  const job = await kitty.jobs.submit(slow(14));
  const id = await runningAfter(job, 2);
  cluster.run("sbatch", "--partition=urgent", "--nodes=4", "--exclusive", "--output=/dev/null", "--wrap=sleep 2");
  await expect.poll(() => cluster.run("squeue", "-h", "-j", id, "-o", "%T").trim(), POLL).toBe("PENDING");
  expect(await job.result()).toMatchObject({ figures: { prompts: 14, succeeded: 14 } });
  expect((await job.logs()).text).toMatch(/waits: [^]*start 2\n[^]*14 prompts, [1-9]\d* of them done before/);
  expect(await job.refresh()).toMatchObject({ state: "succeeded", attempt: 1 });
});

test("scancel by somebody else cancels the job, and says so", async ({ skip }) => {
  skip(cluster.problem !== undefined, cluster.problem);
  await using kitty = await Kitty.start({ config: slurmConfig(folder()) });
  const job = await kitty.jobs.submit(slow(100));
  const id = await runningAfter(job, 1);
  cluster.run("scancel", id);
  expect(await job.wait()).toMatchObject({
    state: "cancelled",
    error: { message: expect.stringMatching(/Slurm says CANCELLED/) as string },
  });
});

test("cancel takes what runs and what waits out of Slurm", async ({ skip }) => {
  skip(cluster.problem !== undefined, cluster.problem);
  await using kitty = await Kitty.start({ config: slurmConfig(folder(), { arrayParallel: 1 }) });
  const sweep = await kitty.jobs.submit({
    kind: "sweep",
    params: { base: slow(100), matrix: { maxNewTokens: [1, 2, 3] } },
  });
  await expect.poll(() => cluster.run("squeue", "-h", "-r", "-t", "R", "-o", "%i"), POLL).not.toBe("");
  await sweep.cancel();
  expect(await sweep.wait()).toMatchObject({ state: "cancelled" });
  await expect.poll(() => cluster.run("squeue", "-h", "-r"), POLL).toBe("");
});

test("an orchestrator that is killed finds its jobs again, those that ended meanwhile too", async ({ skip }) => {
  skip(cluster.problem !== undefined, cluster.problem);
  const path = folder();
  const config = join(path, "config.json");
  writeFileSync(config, JSON.stringify(slurmConfig(path)));
  const runner = fileURLToPath(new URL("../../fixtures/slurm-orchestrator.ts", import.meta.url));
  const child = spawn(process.execPath, ["--import", "tsx", runner, config], { stdio: ["ignore", "pipe", "inherit"] });
  const [ids] = (await once(child.stdout, "data")) as [Buffer];
  const [short = "", long = ""] = ids.toString().trim().split(" ");
  const submitted = (): string => cluster.run("squeue", "-h", "-r", "-t", "R", "-o", "%j");
  await expect.poll(() => submitted().trim().split("\n").length, POLL).toBe(2);
  child.kill("SIGKILL");
  await once(child, "exit");
  // The short one ends while nobody looks.
  await expect.poll(() => submitted().trim().split("\n").length, POLL).toBe(1);
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
});

test("sbatch that says it timed out although the job was queued does not queue it twice", async ({ skip }) => {
  skip(cluster.problem !== undefined, cluster.problem);
  const path = folder();
  const bin = folder();
  const real = cluster.run("bash", "-c", "command -v sbatch").trim();
  const fail = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation";
  writeFileSync(
    join(bin, "sbatch"),
    `#!/bin/bash\n[ "$1" = --parsable ] || exec ${real} "$@"\necho x >> ${bin}/calls\n[ "$(wc -l < ${bin}/calls)" -gt 1 ] && ${real} "$@" > /dev/null\necho '${fail}' >&2\nexit 1\n`,
  );
  chmodSync(join(bin, "sbatch"), 0o755);
  vi.stubEnv("PATH", `${bin}:${process.env["PATH"] ?? ""}`);
  onTestFinished(() => {
    vi.stubEnv("PATH", (process.env["PATH"] ?? "").slice(bin.length + 1));
  });
  await using kitty = await Kitty.start({ config: slurmConfig(path) });
  const job = await kitty.jobs.submit(generate(["x"]));
  // The first time it was not queued, and is submitted again; the second time it was.
  expect(await job.result()).toMatchObject({ figures: { prompts: 1 } });
  const { text } = await job.logs();
  expect(text).toMatch(
    /Socket timed out[^]*was not submitted; submitting it again[^]*Socket timed out[^]*submitted all the same/,
  );
  expect(readFileSync(join(bin, "calls"), "utf8")).toBe("x\nx\n");
});

test("a job at its time limit keeps what it has, goes back into the queue and goes on", async ({ skip }) => {
  skip(cluster.problem !== undefined, cluster.problem);
  await using kitty = await Kitty.start({ config: slurmConfig(folder(), { signalSeconds: 50 }) });
  const job = await kitty.jobs.submit({ ...slow(70), resources: { timeLimitMinutes: 1 }, retry: { maxAttempts: 30 } });
  expect(await job.wait()).toMatchObject({ state: "succeeded", attempt: 1, result: { figures: { succeeded: 70 } } });
  expect((await job.logs()).text).toMatch(
    /its time is nearly over[^]*start 2\n[^]*70 prompts, [1-9]\d* of them done before/,
  );
}, 180_000);
