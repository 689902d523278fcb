import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, onTestFinished, test, vi } from "vitest";
import { Kitty, LocalJobService, resolveConfig, type ConfigInput } from "../../../src/index.js";
import { folder, generate, slow, slurmConfig } from "./slurm-config.js";
import { testCluster } from "./test-cluster.js";

const cluster = testCluster({ nodes: 2, hasAccounting: true });
const POLL = { timeout: 60_000, interval: 200 };

function service(slurm: ConfigInput["slurm"], config: ConfigInput = {}): LocalJobService {
  const jobs = new LocalJobService({ config: resolveConfig({ ...slurmConfig(folder(), slurm), ...config }) });
  onTestFinished(() => jobs.close());
  return jobs;
}

test.for<readonly [ConfigInput["slurm"], RegExp]>([
  [{ partition: "nope" }, /Invalid partition name specified.*choose one of "sinfo -s"/],
  [{ account: "nope" }, /Invalid account.*sacctmgr show assoc/],
  [{ qos: "nope" }, /Invalid qos.*slurm.qos/],
  [{ gpus: 1, gpuType: "h100" }, /Requested node configuration is not available.*GPUs of this type/],
  [{ constraint: "avx1024" }, /Invalid feature specification.*slurm.constraint/],
  [{ memoryMiB: 900_000 }, /not available.*ask for less/],
  [{ partition: "short", timeLimitMinutes: 10 }, /time limit is 10 minutes, the partition short gives 1/],
  [{ directives: ["--no-such-option=1"] }, /unrecognized option.*slurm.directives/],
  [{ container: "apptainer" as const }, /apptainer.image and apptainer.overlay must be set.*container: none/],
])(
  "a job with %j is refused when it is submitted, and nothing is queued anywhere",
  async ([slurm, message], { skip }) => {
    skip(cluster.problem !== undefined, cluster.problem);
    const jobs = service(slurm);
    await expect(jobs.submit(generate(["x"]))).rejects.toThrow(message);
    expect((await jobs.list()).jobs).toEqual([]);
    expect(cluster.run("squeue", "-h")).toBe("");
  },
);

test("a sweep is refused for one child that the site refuses", async ({ skip }) => {
  skip(cluster.problem !== undefined, cluster.problem);
  const jobs = service({ partition: "short" });
  const matrix = { "resources.timeLimitMinutes": [1, 60] };
  const sweep = { kind: "sweep" as const, params: { base: generate(["x"]), matrix } };
  await expect(jobs.submit(sweep)).rejects.toMatchObject({ name: "ConfigError", code: "slurm_refused" });
  expect((await jobs.list()).jobs).toEqual([]);
});

test("an image that is not there, and a machine without Slurm's commands, are refused when a job is submitted", async ({
  skip,
}) => {
  skip(cluster.problem !== undefined, cluster.problem);
  const apptainer = { image: "/no/such.sif", overlay: "/no/such.img" };
  const jobs = service({ container: "apptainer" }, { apptainer });
  await expect(jobs.submit(generate(["x"]))).rejects.toMatchObject({ code: "file_not_found" });
  vi.stubEnv("PATH", "/nonexistent");
  onTestFinished(() => {
    vi.unstubAllEnvs();
    vi.stubEnv("SLURM_CONF", join(cluster.folder, "slurm.conf"));
  });
  await expect(service({}).submit(generate(["x"]))).rejects.toMatchObject({
    code: "slurm_not_found",
    message: expect.stringMatching(/"sbatch" cannot be started .* run this on a login node/) as string,
  });
});

test("a shared folder that is read-only or full is refused when a job is submitted", async ({ skip }) => {
  skip(cluster.problem !== undefined, cluster.problem);
  const shared = join(folder(), "shared");
  mkdirSync(shared);
  const mount = (...args: string[]): number | null => spawnSync("mount", args).status;
  skip(mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", shared) !== 0, "this root may not mount a file system");
  onTestFinished(() => void spawnSync("umount", ["-l", shared]));
  const jobs = service({ folder: shared });
  spawnSync("dd", ["if=/dev/zero", `of=${join(shared, "fill")}`, "bs=1k", "count=200"]);
  await expect(jobs.submit(generate(["x"]))).rejects.toMatchObject({ code: "disk_full" });
  mount("-o", "remount,ro", shared);
  await expect(jobs.submit(generate(["x"]))).rejects.toMatchObject({
    code: "shared_folder",
    message: expect.stringMatching(/read-only file system.*set slurm.folder/) as string,
  });
  expect((await jobs.list()).jobs).toEqual([]);
});

test("what left the queue is asked of accounting, and slurmdbd that is down costs nothing but time", async ({
  skip,
}) => {
  skip(cluster.problem !== undefined, cluster.problem);
  const [path, bin] = [folder(), folder()];
  const real = cluster.run("bash", "-c", "command -v squeue").trim();
  // Slurm forgets what ended after five minutes and more; this one does when it is told to.
  writeFileSync(join(bin, "squeue"), `#!/bin/bash\n[ -e ${bin}/forget ] || exec ${real} "$@"\n`);
  chmodSync(join(bin, "squeue"), 0o755);
  vi.stubEnv("PATH", `${bin}:${process.env["PATH"] ?? ""}`);
  await using kitty = await Kitty.start({ config: slurmConfig(path, { account: "science" }) });
  const job = await kitty.jobs.submit(slow(100));
  await expect.poll(async () => (await job.refresh()).progress?.done ?? 0, POLL).toBeGreaterThan(0);
  const id = /it is Slurm job (\d+)/.exec((await job.logs()).text)?.[1] ?? "";
  writeFileSync(join(bin, "forget"), "");
  cluster.command("stop-dbd");
  // Its result tells of it; nobody else could.
  expect(await (await kitty.jobs.submit(generate(["x"]))).result()).toMatchObject({ figures: { prompts: 1 } });
  cluster.run("scancel", id);
  const looks = 5000;
  await sleep(looks);
  expect((await job.refresh()).state).toBe("running");
  cluster.command("start-dbd");
  const error = { message: expect.stringMatching(/Slurm says CANCELLED/) as string };
  expect(await job.wait()).toMatchObject({ state: "cancelled", error });
  expect(existsSync(join(path, "jobs", job.id, "results.partial.jsonl"))).toBe(true);
}, 180_000);
