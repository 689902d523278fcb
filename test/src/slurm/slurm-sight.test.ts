import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Kitty, type ConfigInput } from "../../../src/index.js";
import { folder, generate, slurmConfig } from "./slurm-config.js";
import { testCluster } from "./test-cluster.js";

const cluster = testCluster({ nodes: 2 });
const CLI = join(import.meta.dirname, "../../../dist/cli/main.js");
const POLL = { timeout: 60_000, interval: 200 };

/** This machine's nodes see all that this machine sees, but not what is mounted in a process's own view of it. */
function whyNoOwnView(): string | undefined {
  const { status } = spawnSync("unshare", ["--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
  return status === 0 ? undefined : "this root may not have mounts of its own";
}

/** `kitty-kv job submit --wait` as on a login node with a disk of its own, on which the image is. */
function submitFromOwnDisk(path: string, slurm: ConfigInput["slurm"] = { container: "apptainer" }) {
  const disk = join(path, "disk");
  mkdirSync(disk);
  const apptainer = { image: join(disk, "kitty.sif"), overlay: join(disk, "kitty.img") };
  const config: ConfigInput = { ...slurmConfig(join(path, "state"), slurm), apptainer };
  writeFileSync(join(path, "c.json"), JSON.stringify(config));
  writeFileSync(join(path, "job.json"), JSON.stringify(generate(["x"])));
  const steps = `mount -t tmpfs tmpfs "$1" && touch "$1/kitty.sif" "$1/kitty.img" && shift && exec "$@"`;
  const kitty = [process.execPath, CLI, "job", "submit", join(path, "job.json"), "--wait", "-c", join(path, "c.json")];
  return spawn("unshare", ["--mount", "bash", "-c", steps, "submit", disk, ...kitty]);
}

async function endOf(child: ReturnType<typeof submitFromOwnDisk>): Promise<{ code: unknown; said: string }> {
  const said: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => said.push(chunk));
  const [code] = (await once(child, "close")) as unknown[];
  return { code, said: Buffer.concat(said).toString("utf8") };
}

test("an image that compute nodes do not see is refused when a job is submitted, and nothing is left queued", async ({
  skip,
}) => {
  skip(cluster.problem !== undefined, cluster.problem);
  const problem = whyNoOwnView();
  skip(problem !== undefined, problem);
  const path = folder();
  const { code, said } = await endOf(submitFromOwnDisk(path));
  expect(said).toMatch(
    /Cannot submit this job: the compute node n[12] does not have \S+\/kitty.sif, \S+\/kitty.img; put it where compute nodes see it/,
  );
  expect(code).toBe(2);
  expect(readdirSync(join(path, "state"))).not.toContain("jobs");
  await expect.poll(() => cluster.run("squeue", "-h"), POLL).toBe("");
});

test("where no node is free to look, the job is submitted and ends at once with the same words", async ({ skip }) => {
  skip(cluster.problem !== undefined, cluster.problem);
  const problem = whyNoOwnView();
  skip(problem !== undefined, problem);
  const busy = cluster.run(
    ...["sbatch", "--parsable", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 300"],
  );
  await expect.poll(() => cluster.run("squeue", "-h", "-t", "R", "-o", "%i"), POLL).toContain(busy.trim());
  const ending = endOf(submitFromOwnDisk(folder()));
  await expect.poll(() => cluster.run("squeue", "-h", "-t", "PD", "-o", "%j"), POLL).toMatch(/^kitty-kv-[0-9a-f]{8}-/);
  cluster.run("scancel", busy.trim());
  const { code, said } = await ending;
  expect(said).toMatch(/the compute node n[12] does not have \S+\/kitty.sif, \S+\/kitty.img; put it where compute/);
  expect(code).toBe(1);
  await expect.poll(() => cluster.run("squeue", "-h"), POLL).toBe("");
});

test("a shared folder that compute nodes do not see is refused, and lines of the site's own that fail are not taken for it", async ({
  skip,
}) => {
  skip(cluster.problem !== undefined, cluster.problem);
  const problem = whyNoOwnView();
  skip(problem !== undefined, problem);
  const path = folder();
  const { code, said } = await endOf(submitFromOwnDisk(path, { folder: join(path, "disk/shared"), container: "none" }));
  expect(said).toMatch(
    /the compute node n[12] does not have \S+\/disk\/shared\/slurm; put it where compute nodes see it/,
  );
  expect(code).toBe(2);
  const setup = ["exit 9"];
  await using kitty = await Kitty.start({ config: slurmConfig(folder(), { setup }) });
  const job = await kitty.jobs.submit({ ...generate(["x"]), retry: { maxAttempts: 1 } });
  expect(await job.wait()).toMatchObject({ state: "failed", error: { code: "slurm_job_failed" } });
}, 120_000);

test("what nodes see is tried once, by whichever process", async ({ skip }) => {
  skip(cluster.problem !== undefined, cluster.problem);
  const path = folder();
  const probes = () =>
    cluster
      .run("squeue", "-h", "-t", "all", "-o", "%j")
      .split("\n")
      .filter((name) => name.startsWith("kitty-kv-probe"));
  const before = probes().length;
  for (let round = 0; round < 2; round++) {
    await using kitty = await Kitty.start({ config: slurmConfig(path) });
    const jobs = await Promise.all([1, 2, 3].map(() => kitty.jobs.submit(generate(["x"]))));
    for (const job of jobs) expect(await job.wait()).toMatchObject({ state: "succeeded" });
  }
  expect(probes().length - before).toBe(1);
});
