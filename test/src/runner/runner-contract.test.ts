import { afterEach, describe, expect, test } from "vitest";
import { WorkerClient } from "../../../src/bridge/worker-client.js";
import { LocalRunner } from "../../../src/runner/local-runner.js";
import type { Runner } from "../../../src/runner/runner.js";
import { fixturePath, LIMITS } from "../fixture-worker.js";
import { isAlive } from "../is-alive.js";

// What every runner must do; a new runner is one line here.
const RUNNERS: readonly (readonly [name: string, make: (program: string) => Runner])[] = [
  ["local", (program) => new LocalRunner({ ...LIMITS, python: fixturePath(program) })],
];

describe.each(RUNNERS)("%s runner", (name, make) => {
  let runner: Runner | undefined;
  afterEach(() => runner?.stop());

  test("describe() names the runner and its whole command, and starts nothing", () => {
    runner = make("good_worker");
    const description = runner.describe();
    expect(description.name).toBe(name);
    expect(description.command.join(" ")).toContain("-m kitty_kv.worker --pythonia");
  });

  test("startWorker() resolves with a worker that answers", async () => {
    runner = make("good_worker");
    const client = new WorkerClient(await runner.startWorker());
    expect(await client.benchEcho("hello")).toBe("hello");
    expect(await client.bridge.hello).toMatchObject({ protocol: 1, version: "0.1.0" });
  });

  test("stop() ends every worker gracefully and can be called twice", async () => {
    runner = make("good_worker");
    const workers = await Promise.all([runner.startWorker(), runner.startWorker()]);
    await runner.stop();
    await runner.stop();
    for (const worker of workers) {
      expect(await worker.exited).toMatchObject({ exitCode: 0, details: { reason: "it was stopped" } });
      expect(isAlive(worker.pid)).toBe(false);
    }
  });

  test("stop() also ends a worker that is still starting", async () => {
    runner = make("silent_worker");
    const starting = runner.startWorker();
    const rejected = expect(starting).rejects.toMatchObject({ name: "CancelledError" });
    await runner.stop();
    await rejected;
  });

  test("an aborted signal cancels a start and leaves no process", async () => {
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
});
