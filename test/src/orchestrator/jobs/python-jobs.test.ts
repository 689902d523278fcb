import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { Kitty, LocalJobService, resolveConfig } from "../../../../src/index.js";
import { findPython } from "../../../../src/runner/find-python.js";
import { packageRoot } from "../../../../src/runner/package-root.js";
import { temporaryFolder } from "../../../scripts/temporary-folder.js";
import { isAlive } from "../../is-alive.js";
import { TEST_MODEL, whyNoRealWorker } from "../../real-worker.js";

const RUNNER = fileURLToPath(new URL("../../../fixtures/job-runner.ts", import.meta.url));
const reason = whyNoRealWorker();

function folder(): string {
  const temporary = temporaryFolder();
  onTestFinished(() => {
    temporary[Symbol.dispose]();
  });
  return temporary.path;
}

/** The Python process that a process has started for a job. */
function jobProcess(parent: number | undefined): number | undefined {
  const { stdout } = spawnSync("ps", ["-o", "pid=,args=", "--ppid", String(parent)], { encoding: "utf8" });
  const line = stdout.split("\n").find((text) => text.includes("kitty_kv.hosted"));
  return line === undefined ? undefined : Number.parseInt(line, 10);
}

test("a latency job measures, and leaves its figures and its report", { timeout: 120_000 }, async ({ skip }) => {
  skip(reason !== undefined, reason);
  const path = folder();
  await using kitty = await Kitty.start({ config: { model: TEST_MODEL, jobs: { folder: path } } });
  const params = { parts: "step", shapes: "1x64", newTokens: 6 };
  const job = await kitty.jobs.submit({
    kind: "latency",
    cache: { preset: "kitty" },
    params,
  });
  const { figures, files } = await job.result();
  expect(files.map(({ name }) => name)).toEqual(["figures.json", "report.txt", "log.txt"]);
  const rows = figures["rows"] as { peer: string; tokensPerSecond: number | null }[];
  const engine = rows.find(({ peer }) => peer === "engine kitty");
  expect(engine?.tokensPerSecond).toBeGreaterThan(0);
  const { text } = await job.logs();
  expect(text).toMatch(/succeeded\n$/);
  expect(job.job).toMatchObject({ kind: "latency", state: "succeeded", attempt: 1 });
  // What is wrong in the spec's own words stays so, however often it is tried.
  const wrong = await kitty.jobs.submit({ kind: "latency", params: { parts: "decode" } });
  expect(await wrong.wait()).toMatchObject({ state: "failed", attempt: 1, error: { code: "usage" } });
});

test(
  "the Python process of a job dies with an orchestrator that is killed, and the job runs anew",
  { timeout: 120_000 },
  async ({ skip }) => {
    skip(reason !== undefined, reason);
    const path = folder();
    const service = new LocalJobService({ config: resolveConfig({ jobs: { folder: path } }) });
    onTestFinished(() => service.close());
    // Far longer than the test may take.
    const { id } = await service.submit({ kind: "simulate", params: { sequences: 200, length: 2000 } });
    const python = findPython(null, packageRoot());
    const orchestrator = spawn(process.execPath, ["--import", "tsx", RUNNER, path, python], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    onTestFinished(() => void orchestrator.kill("SIGKILL"));
    await expect.poll(() => jobProcess(orchestrator.pid), { timeout: 30_000 }).toBeGreaterThan(0);
    const jobPid = jobProcess(orchestrator.pid);
    expect(isAlive(jobPid)).toBe(true);
    orchestrator.kill("SIGKILL");
    await once(orchestrator, "exit");
    await expect.poll(() => isAlive(jobPid), { timeout: 10_000 }).toBe(false);
    expect((await service.get(id)).state).toBe("running");
    const next = spawn(process.execPath, ["--import", "tsx", RUNNER, path, python], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    onTestFinished(() => void next.kill("SIGKILL"));
    await expect.poll(async () => (await service.get(id)).attempt, { timeout: 30_000 }).toBe(2);
    expect(await service.get(id)).toMatchObject({ lostAttempts: 1 });
    await service.cancel(id);
    expect((await service.wait(id)).state).toBe("cancelled");
  },
);
