import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { Kitty, runSlurmTask, type Job } from "../../../src/index.js";
import { writeJson, writeOutcome } from "../../../src/runner/slurm-files.js";
import { folder, generate, slow, slurmConfig } from "./slurm-config.js";
import { testCluster } from "./test-cluster.js";

const cluster = testCluster({ nodes: 3 });
const POLL = { timeout: 60_000, interval: 200 };

/** Works for four seconds, then its worker dies. */
const FAILING = { ...generate([...Array.from({ length: 8 }, () => "do:wait"), "do:kill"]), retry: { maxAttempts: 1 } };

function taskOf(path: string, id: string): { batch: string; index: number; folder: string; job: Job } {
  return JSON.parse(readFileSync(join(path, "jobs", id, "slurm", "task.json"), "utf8")) as never;
}

function scriptOf(path: string, id: string): string {
  return readFileSync(join(taskOf(path, id).folder, "script.sh"), "utf8");
}

test("a job that needs another waits in Slurm, and begins there while no orchestrator runs", async ({ skip }) => {
  skip(cluster.problem !== undefined, cluster.problem);
  const path = folder();
  const config = join(path, "config.json");
  writeFileSync(config, JSON.stringify(slurmConfig(path)));
  const runner = fileURLToPath(new URL("../../fixtures/slurm-chain.ts", import.meta.url));
  const child = spawn(process.execPath, ["--import", "tsx", runner, config], { stdio: ["ignore", "pipe", "inherit"] });
  const [ids] = (await once(child.stdout, "data")) as [Buffer];
  const [first = "", second = ""] = ids.toString().trim().split(" ");
  await expect.poll(() => cluster.run("squeue", "-h", "-o", "%r"), POLL).toMatch(/^Dependency$/m);
  child.kill("SIGKILL");
  await once(child, "exit");
  const outcome = join(path, "jobs", second, "slurm", "outcome.json");
  expect(existsSync(outcome)).toBe(false);
  await expect.poll(() => existsSync(outcome), POLL).toBe(true);
  await using kitty = await Kitty.start({ config });
  for (const id of [first, second]) {
    const job = await kitty.jobs.get(id);
    expect(await job.result()).toMatchObject({ figures: { prompts: 6, succeeded: 6 } });
    expect(readFileSync(join(path, "jobs", id, "slurm", "starts"), "utf8").match(/start/g)).toHaveLength(1);
  }
  const { text } = await (await kitty.jobs.get(second)).logs();
  expect(text).toMatch(new RegExp(`waits in Slurm for job ${first} \\(\\d+\\)`));
});

test("a job that fails ends those in Slurm that need it, which say why", async ({ skip }) => {
  skip(cluster.problem !== undefined, cluster.problem);
  await using kitty = await Kitty.start({ config: slurmConfig(folder()) });
  const first = await kitty.jobs.submit(FAILING);
  const second = await kitty.jobs.submit({ ...generate(["x"]), dependsOn: [first.id] });
  const sweep = await kitty.jobs.submit({
    ...{ kind: "sweep", dependsOn: [second.id] },
    params: { base: generate(["x"]), matrix: { maxNewTokens: [1, 2] } },
  });
  await expect
    .poll(() => cluster.run("squeue", "-h", "-r", "-t", "PD", "-o", "%r").trim(), POLL)
    .toBe("Dependency\nDependency\nDependency");
  expect(await first.wait()).toMatchObject({ state: "failed" });
  for (const [job, needed] of [
    [second, first],
    [sweep, second],
  ] as const) {
    const message = `Cannot start this job: job ${needed.id}, which it depends on, is failed; retry that one, then this one`;
    expect(await job.wait()).toMatchObject({ state: "failed", error: { code: "dependency_failed", message } });
  }
  expect((await second.logs()).text).toMatch(
    /waits again for those that it depends on: a job that it needs did not succeed/,
  );
  await expect.poll(() => cluster.run("squeue", "-h"), POLL).toBe("");
});

test("a job that is cancelled ends those in Slurm that need it", async ({ skip }) => {
  skip(cluster.problem !== undefined, cluster.problem);
  await using kitty = await Kitty.start({ config: slurmConfig(folder()) });
  const first = await kitty.jobs.submit(slow(100));
  const [second, third] = await kitty.jobs.submitMany(
    [1, 2].map(() => ({ ...generate(["x"]), dependsOn: [first.id] })),
  );
  await expect
    .poll(() => cluster.run("squeue", "-h", "-r", "-t", "PD", "-o", "%r").trim(), POLL)
    .toBe("Dependency\nDependency");
  // By its user in Slurm itself: that is its own end, and no fault of what it needs.
  cluster.run("scancel", cluster.run("squeue", "-h", "-r", "-t", "PD", "-o", "%i").trim().split("\n")[1] ?? "");
  await expect
    .poll(async () => (await Promise.all([second?.refresh(), third?.refresh()])).map((job) => job?.state).sort(), POLL)
    .toEqual(["cancelled", "starting"]);
  await first.cancel();
  const ends = await Promise.all([second?.wait(), third?.wait()]);
  expect(ends.map((job) => job?.error?.code).sort()).toEqual(["dependency_failed", "slurm_cancelled"]);
});

test("a job that is tried again takes those with it that need it", async ({ skip }) => {
  skip(cluster.problem !== undefined, cluster.problem);
  const path = folder();
  // The first job's script ends with nothing done.
  const setup = [`if [[ $SLURM_JOB_NAME != *probe* ]] && mkdir '${path}/first' 2>/dev/null; then sleep 3; exit 3; fi`];
  await using kitty = await Kitty.start({ config: slurmConfig(path, { setup }) });
  const first = await kitty.jobs.submit({ ...generate(["x"]), retry: { backoffMs: 0 } });
  const second = await kitty.jobs.submit({ ...generate(["y"]), dependsOn: [first.id] });
  expect(await second.wait()).toMatchObject({ state: "succeeded" });
  expect(await first.refresh()).toMatchObject({ state: "succeeded", attempt: 2 });
  const numbers = [...(await second.logs()).text.matchAll(/it is Slurm job (\d+)/g)].map(([, number]) => number);
  expect(numbers).toHaveLength(2);
});

test("a sweep after a sweep is one array after another, and pairs wait for their own", async ({ skip }) => {
  skip(cluster.problem !== undefined, cluster.problem);
  const path = folder();
  await using kitty = await Kitty.start({ config: slurmConfig(path) });
  const params = { base: slow(6), matrix: { maxNewTokens: [1, 2, 3] } };
  const before = await kitty.jobs.submit({ kind: "sweep", params });
  const also = await kitty.jobs.submit(generate(["x"]));
  const base = { ...params.base, dependsOn: [also.id] };
  const after = await kitty.jobs.submit({ kind: "sweep", params: { ...params, base }, dependsOn: [before.id] });
  const singles = await kitty.jobs.submitMany([1, 2, 3].map(() => ({ ...slow(6), resources: { cpus: 2 } })));
  const pairs = await kitty.jobs.submitMany(singles.map(({ id }) => ({ ...generate(["x"]), dependsOn: [id] })));
  const [first, second] = [await before.result(), await after.result()].map(({ figures }) => idsOf(figures));
  const arrayOf = (id: string): string =>
    (JSON.parse(readFileSync(join(taskOf(path, id).folder, "submission.json"), "utf8")) as { jobId: string }).jobId;
  expect(scriptOf(path, second?.[0] ?? "")).toMatch(
    new RegExp(`--dependency=afterok:(\\d+:)?${arrayOf(first?.[0] ?? "")}(:\\d+)?\n`),
  );
  expect((await kitty.jobs.get(second?.[0] ?? "")).job.spec.dependsOn).toEqual([also.id, before.id]);
  for (const job of pairs) expect(await job.wait()).toMatchObject({ state: "succeeded" });
  const [single, pair] = [singles[0]?.id ?? "", pairs[0]?.id ?? ""];
  expect(scriptOf(path, pair)).toContain(`#SBATCH --dependency=aftercorr:${arrayOf(single)}\n`);
  expect(pairs.map(({ id }) => taskOf(path, id).index)).toEqual(singles.map(({ id }) => taskOf(path, id).index));
}, 120_000);

test("where the site refuses dependencies, a job is submitted once what it needs has succeeded", async ({ skip }) => {
  skip(cluster.problem !== undefined, cluster.problem);
  const path = folder();
  await using kitty = await Kitty.start({ config: slurmConfig(path, { suppress: ["dependency"] }) });
  const first = await kitty.jobs.submit(slow(2));
  const second = await kitty.jobs.submit({ ...generate(["x"]), dependsOn: [first.id] });
  await expect.poll(async () => (await first.refresh()).state, POLL).toBe("running");
  expect((await second.refresh()).state).toBe("queued");
  expect(await second.wait()).toMatchObject({ state: "succeeded" });
  expect(scriptOf(path, second.id)).not.toContain("--dependency");
});

test("a task whose dependency Slurm has forgotten does not run when that did not succeed", async () => {
  const path = folder();
  const [batchFolder, needed, own] = [join(path, "slurm", "b2"), join(path, "jobs", "j1"), join(path, "jobs", "j2")];
  const job = { id: "j2", spec: { kind: "generate", retry: { maxAttempts: 3 } } };
  writeJson(join(batchFolder, "tasks.json"), [own]);
  writeJson(join(batchFolder, "needs.json"), [[{ job: "j1", batch: "b1", index: 0 }]]);
  writeJson(join(own, "slurm", "task.json"), { batch: "b2", index: 0, folder: batchFolder, job });
  const error = { code: "internal", message: "it broke", details: {} };
  writeOutcome(needed, { batch: "b1", index: 0 }, { kind: "failed", error });
  const signals = { timeIsNearlyOver: new AbortController().signal, mustEnd: new AbortController().signal };
  expect(await runSlurmTask(batchFolder, 0, signals)).toBe(1);
  const outcome = JSON.parse(readFileSync(join(own, "slurm", "outcome.json"), "utf8")) as object;
  expect(outcome).toMatchObject({
    end: { kind: "failed", error: { code: "dependency_unmet", details: { dependency: "j1" } } },
  });
  expect(existsSync(join(own, "slurm", "starts"))).toBe(false);
});

function idsOf(figures: Readonly<Record<string, unknown>>): string[] {
  return (figures["children"] as { id: string }[]).map(({ id }) => id);
}
