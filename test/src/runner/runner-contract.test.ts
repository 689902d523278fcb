import { dirname } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { listInstances } from "../../../src/apptainer/list-instances.js";
import { WorkerClient } from "../../../src/bridge/worker-client.js";
import { resolveConfig } from "../../../src/config/load.js";
import { ApptainerRunner } from "../../../src/runner/apptainer-runner.js";
import { LocalRunner } from "../../../src/runner/local-runner.js";
import { SlurmRunner } from "../../../src/runner/slurm-runner.js";
import type { Runner } from "../../../src/runner/runner.js";
import { temporaryFolder } from "../../scripts/temporary-folder.js";
import { instancesProblem, ownTestOverlay } from "../apptainer/test-overlay.js";
import { fixturePath, LIMITS } from "../fixture-worker.js";
import { slurmConfig } from "../slurm/slurm-config.js";
import { testCluster } from "../slurm/test-cluster.js";
import { isAlive } from "../is-alive.js";

interface Kind {
  name: string;
  /** Why it cannot run here. */
  problem?: string | undefined;
  make: (program: string) => Runner;
}

const home = temporaryFolder();
const cluster = testCluster({ nodes: 2 });
let place = { image: "", overlay: "" };

// What every runner must do; a new runner is one entry here.
const RUNNERS: readonly Kind[] = [
  { name: "local", make: (program) => new LocalRunner({ ...LIMITS, python: fixturePath(program) }) },
  {
    name: "apptainer",
    problem: instancesProblem(),
    make: (program) => {
      const python = fixturePath(program);
      const settings = { ...place, modelFolders: [dirname(python)] };
      return new ApptainerRunner({ ...LIMITS, settings, gpus: [], python });
    },
  },
  {
    name: "slurm",
    problem: cluster.problem,
    make: (program) => new SlurmRunner(resolveConfig(slurmConfig(home.path, {}, program)), home.path),
  },
];

beforeAll(async () => {
  vi.stubEnv("KITTY_KV_HOME", home.path);
  if (instancesProblem() === undefined) place = await ownTestOverlay(home.path);
}, 600_000);

afterAll(async () => {
  expect(await listInstances()).toEqual([]);
  home[Symbol.dispose]();
});

describe.each(RUNNERS)("$name runner", ({ name, problem, make }) => {
  let runner: Runner | undefined;
  afterEach(() => runner?.stop());

  test("describe() names the runner and its whole command, and starts nothing", ({ skip }) => {
    skip(problem !== undefined, problem);
    runner = make("good_worker");
    const description = runner.describe();
    expect(description.name).toBe(name);
    expect(description.command.join(" ")).toContain("-m kitty_kv.worker --pythonia");
  });

  test("startWorker() resolves with a worker that answers", async ({ skip }) => {
    skip(problem !== undefined, problem);
    runner = make("good_worker");
    const client = new WorkerClient(await runner.startWorker());
    expect(await client.benchEcho("hello")).toBe("hello");
    expect(await client.bridge.hello).toMatchObject({ protocol: 1, version: "0.1.0" });
  });

  test("stop() ends every worker gracefully and can be called twice", async ({ skip }) => {
    skip(problem !== undefined, problem);
    runner = make("good_worker");
    const workers = await Promise.all([runner.startWorker(), runner.startWorker()]);
    await runner.stop();
    await runner.stop();
    for (const worker of workers) {
      expect(await worker.exited).toMatchObject({ exitCode: 0, details: { reason: "it was stopped" } });
      expect(isAlive(worker.pid)).toBe(false);
    }
  });

  test("stop() also ends a worker that is still starting", async ({ skip }) => {
    skip(problem !== undefined, problem);
    runner = make("silent_worker");
    const starting = runner.startWorker();
    const rejected = expect(starting).rejects.toMatchObject({ name: "CancelledError" });
    await runner.stop();
    await rejected;
  });

  test("an aborted signal cancels a start and leaves no process", async ({ skip }) => {
    skip(problem !== undefined, problem);
    runner = make("silent_worker");
    const controller = new AbortController();
    const starting = runner.startWorker({
      signal: controller.signal,
      onLog: () => {
        controller.abort();
      },
    });
    await expect(starting).rejects.toMatchObject({ name: "CancelledError", code: "cancelled" });
  });

  test("a worker that is killed rejects its calls with WorkerExitedError, and another can be started", async ({
    skip,
  }) => {
    skip(problem !== undefined, problem);
    runner = make("good_worker");
    const worker = await runner.startWorker();
    const call = worker.call("fixture.never", {});
    process.kill(worker.pid ?? 0, "SIGKILL");
    await expect(call).rejects.toMatchObject({ name: "WorkerExitedError", signal: "SIGKILL" });
    expect(await new WorkerClient(await runner.startWorker()).benchEcho("again")).toBe("again");
  });
});
