import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { test, vi, type TestContext } from "vitest";
import { Kitty } from "../../../src/index.js";
import { folder, generate, jobNumber, runningAfter, slow, slurmConfig } from "./slurm-config.js";
import { testCluster } from "./test-cluster.js";

// What is away for a while, and comes back: the shared folder, the controller, sbatch's answer.
const cluster = testCluster({ nodes: 1 });
const POLL = { timeout: 120_000, interval: 200 };

/** A shared folder on a file system of its own, which lives as long as the test; the test is skipped where none can be mounted. */
function mounted({ skip, onTestFinished }: TestContext, size: string): string {
  const shared = join(folder(onTestFinished), "shared");
  mkdirSync(shared);
  const { status, stderr } = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", shared]);
  skip(status !== 0, `this root may not mount a file system: ${stderr.toString()}`);
  onTestFinished(() => void spawnSync("umount", ["-l", shared]));
  return shared;
}

/**
 * Everything that is opened in the folder from now on is read-only, as when a server exports it anew.
 * @returns what ends that
 */
function makeReadOnly({ onTestFinished }: TestContext, shared: string): () => void {
  const call = (...command: [string, ...string[]]): void => {
    const { status, stderr } = spawnSync(command[0], command.slice(1));
    if (status !== 0) throw new Error(`${command.join(" ")}: ${stderr.toString()}`);
  };
  call("mount", "--bind", shared, shared);
  call("mount", "-o", "remount,ro,bind", shared);
  let isOver = false;
  const end = (): void => {
    if (!isOver) call("umount", "-l", shared);
    isOver = true;
  };
  onTestFinished(end);
  return end;
}

test.concurrent(
  "a shared folder that becomes read-only under a running job loses nothing; the job waits for it and goes on",
  async (context) => {
    const { expect, skip, onTestFinished } = context;
    skip(cluster.problem !== undefined, cluster.problem);
    const shared = mounted(context, "8m");
    await using kitty = await Kitty.start({
      config: slurmConfig(folder(onTestFinished), { folder: shared }),
    });
    const job = await kitty.jobs.submit(slow(6));
    await runningAfter(expect, job, 1);
    const { folder: batch } = JSON.parse(readFileSync(join(shared, "jobs", job.id, "slurm", "task.json"), "utf8")) as {
      folder: string;
    };
    const makeWritable = makeReadOnly(context, shared);
    await expect.poll(() => readFileSync(join(batch, "out.txt"), "utf8"), POLL).toMatch(/read-only.*waiting until/);
    await expect(kitty.jobs.submit(slow(1))).rejects.toMatchObject({ code: "shared_folder" });
    expect((await job.refresh()).state).toBe("running");
    makeWritable();
    expect(await job.result()).toMatchObject({ figures: { prompts: 6, succeeded: 6 } });
    expect((await job.logs()).text).toMatch(
      /can be written again; going on with what there is\n[^]*6 prompts, 6 of them done before/,
    );
  },
  240_000,
);

test.concurrent(
  "a shared folder that is full loses nothing; the job waits for space and goes on",
  async (context) => {
    const { expect, skip, onTestFinished } = context;
    skip(cluster.problem !== undefined, cluster.problem);
    const shared = mounted(context, "1m");
    await using kitty = await Kitty.start({
      config: slurmConfig(folder(onTestFinished), { folder: shared }),
    });
    const job = await kitty.jobs.submit(slow(6));
    await runningAfter(expect, job, 1);
    const [fill, partial] = [join(shared, "fill"), join(shared, "jobs", job.id, "results.partial.jsonl")];
    spawnSync("dd", ["if=/dev/zero", `of=${fill}`, "bs=1k"]);
    // What fits into the last page is still kept; then the results as a whole do not fit.
    await expect.poll(() => readFileSync(partial, "utf8").match(/"text"/g)?.length, POLL).toBe(6);
    await sleep(2000);
    expect(existsSync(join(shared, "jobs", job.id, "results.jsonl"))).toBe(false);
    expect((await job.refresh()).state).toBe("running");
    rmSync(fill);
    expect(await job.result()).toMatchObject({ figures: { prompts: 6, succeeded: 6 } });
    expect((await job.logs()).text).toMatch(/can be written again; going on/);
  },
  240_000,
);

test.concurrent(
  "a shared folder that is read-only before the job begins fails it with what to do, and leaves nothing in the queue",
  async (context) => {
    const { expect, skip, onTestFinished } = context;
    skip(cluster.problem !== undefined, cluster.problem);
    const shared = mounted(context, "8m");
    const slurm = { folder: shared, directives: ["--hold"] };
    await using kitty = await Kitty.start({ config: slurmConfig(folder(onTestFinished), slurm) });
    const job = await kitty.jobs.submit(slow(1));
    const told = async () => /it is Slurm job (\d+)[^]*held by its user/.exec((await job.logs()).text)?.[1];
    await expect.poll(told, POLL).toMatch(/^\d+$/);
    makeReadOnly(context, shared);
    cluster.run("scontrol", "release", (await told()) ?? "");
    expect(await job.wait()).toMatchObject({
      state: "failed",
      error: { code: "shared_folder", message: expect.stringMatching(/read-only.*slurm\.folder/) as string },
    });
    expect(cluster.run("squeue", "-h", "-o", "%Z")).not.toContain(shared);
  },
  240_000,
);

test.concurrent(
  "a shared folder that never has space for the results fails the job with what to do",
  async (context) => {
    const { expect, skip, onTestFinished } = context;
    skip(cluster.problem !== undefined, cluster.problem);
    const shared = mounted(context, "1m");
    await using kitty = await Kitty.start({ config: slurmConfig(folder(onTestFinished), { folder: shared }) });
    // Some 200 KiB are left, of which a text of 300 takes more.
    spawnSync("dd", ["if=/dev/zero", `of=${join(shared, "fill")}`, "bs=1k", "count=800"]);
    const job = await kitty.jobs.submit({ ...generate(["x"], 50_000), retry: { maxAttempts: 1 } });
    expect(await job.wait()).toMatchObject({
      state: "failed",
      error: { code: "disk_full", message: expect.stringMatching(/disk is full.*free some space/) as string },
    });
    expect((await job.logs()).text.match(/waiting until it can be written/g)).toHaveLength(3);
  },
  240_000,
);

test("a log that cannot be read keeps nobody from hearing how the job ended", async ({ expect, skip }) => {
  skip(cluster.problem !== undefined, cluster.problem);
  const path = folder();
  await using kitty = await Kitty.start({ config: slurmConfig(path) });
  const [first, second] = await kitty.jobs.submitMany([slow(4), slow(4)]);
  if (first === undefined || second === undefined) throw new RangeError("two jobs were submitted");
  await runningAfter(expect, first, 1);
  // EISDIR, in place of what a server that went away answers.
  const log = join(path, "jobs", first.id, "slurm", "log.txt");
  rmSync(log);
  mkdirSync(log);
  expect(await first.result()).toMatchObject({ figures: { succeeded: 4 } });
  expect(await second.result()).toMatchObject({ figures: { succeeded: 4 } });
});

test("slurmctld that is away for a minute while jobs run and are submitted costs nothing but time", async ({
  expect,
  skip,
}) => {
  skip(cluster.problem !== undefined, cluster.problem);
  await using kitty = await Kitty.start({ config: slurmConfig(folder()) });
  const running = await kitty.jobs.submit(slow(10));
  const longer = await kitty.jobs.submit(slow(160));
  await runningAfter(expect, running, 1);
  await runningAfter(expect, longer, 1);
  cluster.command("stop-ctld");
  const stopped = performance.now();
  const waiting = await kitty.jobs.submit(generate(["x"]));
  // It ends while nobody can be asked about it.
  expect(await running.result()).toMatchObject({ figures: { prompts: 10, failed: 0 } });
  await expect
    .poll(async () => (await waiting.logs()).text, POLL)
    .toMatch(/Unable to contact slurm controller.*going on in/);
  expect((await waiting.refresh()).state).toBe("starting");
  await sleep(60_000 - (performance.now() - stopped));
  // What runs is heard of all the same.
  const { state, progress } = await longer.refresh();
  expect(state).toBe("running");
  expect(progress?.done).toBeGreaterThan(60);
  cluster.command("start-ctld");
  expect(await waiting.result()).toMatchObject({ figures: { prompts: 1 } });
  expect(await longer.result()).toMatchObject({ figures: { prompts: 160, failed: 0 } });
}, 240_000);

test("a controller that lost its state, and gives the job's number to another one, is not believed: the job is submitted again", async ({
  expect,
  skip,
}) => {
  skip(cluster.problem !== undefined, cluster.problem);
  const path = folder();
  const config = slurmConfig(path);
  let id: string;
  let number: string;
  {
    await using kitty = await Kitty.start({ config });
    const job = await kitty.jobs.submit(slow(20));
    await runningAfter(expect, job, 1);
    ({ id } = job);
    number = await jobNumber(job);
  }
  cluster.command("stop-ctld");
  cluster.command("kill-node", "n1");
  rmSync(join(cluster.folder, "ctld"), { recursive: true });
  mkdirSync(join(cluster.folder, "ctld"));
  cluster.command("start-ctld");
  cluster.command("start-node", "n1");
  await expect.poll(() => cluster.run("sinfo", "-h", "-p", "debug", "-o", "%T").trim(), POLL).toMatch(/idle|mixed/);
  const other = ["--parsable", "--output=/dev/null", "--wrap=sleep 100"];
  let taken = "";
  while (taken !== number) taken = cluster.run("sbatch", ...other).trim();
  await using kitty = await Kitty.start({ config });
  const job = await kitty.jobs.get(id);
  cluster.run("scancel", "--user=root", "--name=wrap", "--state=PENDING");
  expect(await job.result()).toMatchObject({ figures: { prompts: 20, succeeded: 20 } });
  expect((await job.logs()).text).toMatch(
    /Slurm does not know it any more.*submitting it again[^]*20 prompts, [1-9]\d* of them done before/,
  );
  cluster.run("scancel", "--user=root", "--name=wrap");
}, 240_000);

test("sbatch that says it timed out although the job was queued does not queue it twice", async ({
  expect,
  skip,
  onTestFinished,
}) => {
  skip(cluster.problem !== undefined, cluster.problem);
  const path = folder();
  const bin = folder();
  const real = cluster.run("bash", "-c", "command -v sbatch").trim();
  const fail = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation";
  writeFileSync(
    join(bin, "sbatch"),
    `#!/bin/bash\n[ "$1" = --parsable ] && [[ $2 != */kitty-kv-probe-* ]] || exec ${real} "$@"\necho x >> ${bin}/calls\n[ "$(wc -l < ${bin}/calls)" -gt 1 ] && ${real} "$@" > /dev/null\necho '${fail}' >&2\nexit 1\n`,
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
