import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Kitty, type Job } from "../../../src/index.js";
import { folder, generate, slurmConfig } from "./slurm-config.js";
import { testCluster } from "./test-cluster.js";

const cluster = testCluster({ nodes: 4 });

test("a job runs on a node, and its results, log and progress come back over the shared folder", async ({ skip }) => {
  skip(cluster.problem !== undefined, cluster.problem);
  const path = folder();
  await using kitty = await Kitty.start({ config: slurmConfig(path) });
  const job = await kitty.jobs.submit({ ...generate(["one", "two"]), name: `a "b" $(touch ${path}/no)\n'ü漢` });
  const { figures, files } = await job.result();
  expect(figures).toMatchObject({ prompts: 2, succeeded: 2, completionTokens: 6 });
  expect(files.map(({ name }) => name)).toEqual(["results.jsonl", "log.txt"]);
  const { text } = await job.logs();
  expect(text).toMatch(/it is Slurm job \d+ .*begins on n[1-4]\n.*2 prompts, 0 of them done before/s);
  expect((await job.refresh()).progress).toEqual({ done: 2, total: 2 });
  expect(cluster.run("squeue", "-h")).toBe("");
});

test("a sweep becomes one array over several nodes, with no more tasks at once than it may have", async ({ skip }) => {
  skip(cluster.problem !== undefined, cluster.problem);
  const path = folder();
  await using kitty = await Kitty.start({ config: slurmConfig(path, { arrayParallel: 3, cpus: 4 }) });
  const matrix = { maxNewTokens: [1, 2, 3], preset: ["kitty", "fp16"] };
  const sweep = await kitty.jobs.submit({ kind: "sweep", params: { base: generate(["x"]), matrix } });
  const { figures } = await sweep.result();
  const children = figures["children"] as { id: string; state: string }[];
  expect(children.map(({ state }) => state)).toEqual(Array.from({ length: 6 }, () => "succeeded"));
  const tasks = children.map(({ id }) => taskOf(path, id));
  expect(new Set(tasks.map(({ batch }) => batch)).size).toBe(1);
  expect(tasks.map(({ index }) => index).sort()).toEqual([0, 1, 2, 3, 4, 5]);
  const script = readFileSync(join(tasks[0]?.folder ?? "", "script.sh"), "utf8");
  expect(script).toContain("#SBATCH --array=0-5%3");
  const logs = await Promise.all(children.map(async ({ id }) => (await (await kitty.jobs.get(id)).logs()).text));
  expect(new Set(logs.map((text) => /begins on (n\d)/.exec(text)?.[1])).size).toBeGreaterThan(1);
});

test("folders, names and texts may have spaces, quotes, newlines and any letter; nothing of them is interpreted", async ({
  skip,
}) => {
  skip(cluster.problem !== undefined, cluster.problem);
  const path = join(folder(), `it's "a" folder, $(touch pwned) #1; *[x]{y} ~ ü漢`);
  mkdirSync(path);
  const config = slurmConfig(path, { arrayParallel: 2 });
  await using kitty = await Kitty.start({ config });
  const name = `a\n#SBATCH --partition=nope\n'; touch pwned; "$(touch pwned)" \`touch pwned\` ü漢`;
  const jobs = await kitty.jobs.submitMany([
    { ...generate([name, "$HOME\n'"]), name },
    { ...generate(["x"]), name: " " },
  ]);
  for (const job of jobs) expect((await job.result()).figures).toMatchObject({ failed: 0 });
  expect(readdirSync(path, { recursive: true }).filter((file) => file.toString().includes("pwned"))).toEqual([]);
  expect(existsSync("pwned")).toBe(false);
});

test.for(["two\nlines", "100%j", "back\\slash"])(
  "a shared folder with the name %j, which Slurm would not find, is refused when a job is submitted",
  async (name, { skip }) => {
    skip(cluster.problem !== undefined, cluster.problem);
    const path = join(folder(), name);
    mkdirSync(path);
    await using kitty = await Kitty.start({ config: slurmConfig(path) });
    await expect(kitty.jobs.submit(generate(["x"]))).rejects.toMatchObject({ code: "invalid_directive" });
    expect(cluster.run("squeue", "-h", "-o", "%j")).toBe("");
  },
);

function taskOf(path: string, id: string): { batch: string; index: number; folder: string; job: Job } {
  return JSON.parse(readFileSync(join(path, "jobs", id, "slurm", "task.json"), "utf8")) as never;
}
