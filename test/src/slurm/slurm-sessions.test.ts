import { expect, test } from "vitest";
import { resolveConfig } from "../../../src/config/load.js";
import { Kitty, type ConfigInput } from "../../../src/index.js";
import { SlurmRunner } from "../../../src/runner/slurm-runner.js";
import { folder, slurmConfig } from "./slurm-config.js";
import { testCluster } from "./test-cluster.js";

const cluster = testCluster({ nodes: 2 });
const POLL = { timeout: 20_000, interval: 200 };
const queued = (): string => cluster.run("squeue", "-h", "-t", "PD,R", "-o", "%i").trim();

function configOf(slurm: ConfigInput["slurm"] = {}): ConfigInput {
  return {
    ...slurmConfig(folder(), { idleTimeoutMs: 1000, ...slurm }),
    pool: { idleTimeoutMs: 500, max: 2, sessionsPerWorker: 2 },
  };
}

test("sessions share an allocation, which is asked for with the first one and given back when it stands idle", async ({
  skip,
}) => {
  skip(cluster.problem !== undefined, cluster.problem);
  const told: string[] = [];
  await using kitty = await Kitty.start({
    config: configOf({ workersPerAllocation: 2 }),
    onLog: ({ stream, text }) => {
      if (stream === "runner") told.push(text);
    },
  });
  expect(queued()).toBe("");
  const sessions = await Promise.all(Array.from({ length: 3 }, () => kitty.sessions.open()));
  expect(queued()).toMatch(/^\d+$/);
  const texts = await Promise.all(
    sessions.map(async (session) => (await session.generate("x", { maxNewTokens: 2 }).result()).text),
  );
  expect(texts).toEqual(["w0 w1 ", "w0 w1 ", "w0 w1 "]);
  // Two workers, in one allocation.
  expect(
    cluster
      .run("squeue", "-h", "-s", "-o", "%i")
      .trim()
      .split("\n")
      .filter((step) => /\.\d+$/.test(step)),
  ).toHaveLength(2);
  expect(told.at(-1)).toMatch(/Slurm job \d+ has n[12]/);
  await Promise.all(sessions.map((session) => session.close()));
  await expect.poll(queued, POLL).toBe("");
});

test("one that waits for its nodes says why, and is taken out of the queue when nobody wants it any more", async ({
  skip,
}) => {
  skip(cluster.problem !== undefined, cluster.problem);
  const blocker = cluster
    .run("sbatch", "--parsable", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 60")
    .trim();
  await expect.poll(() => cluster.run("squeue", "-h", "-j", blocker, "-o", "%T").trim(), POLL).toBe("RUNNING");
  const runner = new SlurmRunner(resolveConfig(configOf()), folder());
  const controller = new AbortController();
  const told: string[] = [];
  const starting = runner.startWorker({ signal: controller.signal, onLog: ({ text }) => told.push(text) });
  starting.catch(() => undefined);
  await expect.poll(() => told.join(" "), POLL).toMatch(/waiting for nodes, CPUs, memory or GPUs|higher priority/);
  controller.abort();
  await expect(starting).rejects.toMatchObject({ name: "CancelledError" });
  expect(queued()).toBe(blocker);
  cluster.run("scancel", blocker);
  await runner.stop();
});

test("what the site refuses is told in its own words, and leaves nothing behind", async ({ skip }) => {
  skip(cluster.problem !== undefined, cluster.problem);
  for (const [slurm, message] of [
    [{ partition: "nope" }, /Invalid partition name.*"sinfo -s"/],
    [{ gpus: 1, gpuType: "h100" }, /Requested node configuration is not available/],
    [{ partition: "short", timeLimitMinutes: 30 }, /time limit is over the partition's/],
  ] as const) {
    const runner = new SlurmRunner(resolveConfig(configOf(slurm)), folder());
    await expect(runner.startWorker()).rejects.toThrow(message);
    await runner.stop();
  }
  await expect.poll(queued, POLL).toBe("");
});

test("an allocation that ends takes its workers with it, and the next session gets a new one", async ({ skip }) => {
  skip(cluster.problem !== undefined, cluster.problem);
  await using kitty = await Kitty.start({ config: configOf() });
  const session = await kitty.sessions.open();
  const first = queued();
  cluster.run("scancel", first);
  await expect(session.generate("x", { maxNewTokens: 1_000_000 }).result()).rejects.toMatchObject({
    name: "WorkerExitedError",
  });
  await using next = await kitty.sessions.open();
  expect((await next.generate("x", { maxNewTokens: 1 }).result()).text).toBe("w0 ");
  expect(queued()).not.toBe(first);
});

test("a worker that is killed leaves no step behind in an allocation that goes on", async ({ skip }) => {
  skip(cluster.problem !== undefined, cluster.problem);
  const runner = new SlurmRunner(resolveConfig(configOf({ workersPerAllocation: 2, idleTimeoutMs: 60_000 })), folder());
  const [first, second] = [await runner.startWorker(), await runner.startWorker()];
  const steps = (): string =>
    cluster
      .run("squeue", "-h", "-s", "-o", "%j")
      .replaceAll(/batch|extern/g, "")
      .trim();
  expect(steps()).toMatch(/^worker-\d\s+worker-\d$/);
  first.kill("it misbehaved");
  await first.exited;
  await expect.poll(steps, POLL).toMatch(/^worker-2$/);
  expect(await second.call("bench.echo", { text: "still here" })).toEqual({ text: "still here" });
  await runner.stop();
  await expect.poll(queued, POLL).toBe("");
});
