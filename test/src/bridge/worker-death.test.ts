import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { WorkerExitedError } from "../../../src/errors.js";
import type { WorkerClient } from "../../../src/bridge/worker-client.js";
import { startFixture } from "../fixture-worker.js";
import { isAlive } from "../is-alive.js";

const SESSION = { session: "a", model: null, cache: {}, dtype: "auto", device: "auto" } as const;
const ONE_TOKEN = { maxNewTokens: 1, temperature: 0, stop: [] };

/** Starts a generation with a prompt that makes the fixture misbehave; resolves with its error. */
async function misbehave(client: WorkerClient, prompt: string): Promise<WorkerExitedError> {
  await client.openSession(SESSION);
  const error = await new Promise((onError, onResult) => {
    const params = { session: "a", stream: "b", prompt, messages: null, options: ONE_TOKEN, credit: 8 };
    void client.generate(params, { onTokens: () => undefined, onResult, onError });
  });
  expect(error).toBeInstanceOf(WorkerExitedError);
  return error as WorkerExitedError;
}

test("every pending call rejects within 1 s of kill -9, with the signal and the last stderr lines", async () => {
  await using worker = await startFixture("good_worker");
  const calls = Array.from({ length: 20 }, () =>
    worker.client.bridge.call("fixture.never", {}).catch((error: unknown) => error),
  );
  const stream = misbehave(worker.client, "do:kill");
  const died = worker.client.bridge.exited.then(() => performance.now());
  const errors = await Promise.all([...calls, stream]);
  expect(performance.now() - (await died)).toBeLessThan(1000);
  for (const error of errors) {
    expect(error).toBeInstanceOf(WorkerExitedError);
    expect(error).toMatchObject({
      code: "worker_exited",
      exitCode: null,
      signal: "SIGKILL",
      stderrTail: ["last words"],
    });
  }
});

test("calls reject within 1 s when an idle worker is killed from outside", async () => {
  await using worker = await startFixture("good_worker");
  const call = worker.client.bridge.call("fixture.never", {}).catch((error: unknown) => error);
  await worker.client.ping();
  const killed = performance.now();
  process.kill(worker.client.bridge.pid ?? 0, "SIGKILL");
  expect(await call).toMatchObject({ signal: "SIGKILL" });
  expect(performance.now() - killed).toBeLessThan(1000);
});

test("a call after the end rejects at once with the same error, EPIPE or not", async () => {
  await using worker = await startFixture("good_worker");
  process.kill(worker.client.bridge.pid ?? 0, "SIGKILL");
  // Some of these are written to a pipe whose reader is gone already.
  const during = await Promise.all(
    Array.from({ length: 50 }, () => worker.client.ping().catch((error: unknown) => error)),
  );
  const after: unknown = await worker.client.ping().catch((error: unknown) => error);
  expect(new Set([...during, after, await worker.client.bridge.exited]).size).toBe(1);
});

test("a stopped worker process is found by the heartbeat", async () => {
  const heartbeat = { intervalMs: 20, timeoutMs: 300, stepTimeoutMs: 60_000 };
  await using worker = await startFixture("good_worker", [], { heartbeat });
  const error = await misbehave(worker.client, "do:stop");
  expect(error.details["reason"]).toBe("it did not answer a heartbeat in 300 ms");
});

test("an engine stuck in one step is found although the worker answers", async () => {
  const heartbeat = { intervalMs: 20, timeoutMs: 10_000, stepTimeoutMs: 200 };
  await using worker = await startFixture("good_worker", [], { heartbeat });
  const error = await misbehave(worker.client, "do:hang-engine");
  expect(error.details["reason"]).toBe("its engine did not finish a step in 200 ms");
});

test("a worker that answers heartbeats with nonsense is killed", async () => {
  const heartbeat = { intervalMs: 20, timeoutMs: 10_000, stepTimeoutMs: 10_000 };
  await using worker = await startFixture("good_worker", [], { heartbeat });
  await worker.client.bridge.call("fixture.break-ping", {});
  expect((await worker.client.bridge.exited).details["reason"]).toContain("it did not answer a heartbeat well");
});

test("a busy host does not take its worker for hung", async () => {
  const heartbeat = { intervalMs: 1, timeoutMs: 100, stepTimeoutMs: 10_000 };
  await using worker = await startFixture("good_worker", [], { heartbeat });
  for (let i = 0; i < 3; i++) {
    await worker.client.ping();
    const until = performance.now() + 150;
    while (performance.now() < until);
  }
  expect(await worker.client.benchEcho("alive")).toBe("alive");
});

test.each([
  ["quiet", { signal: "SIGKILL", details: { reason: "it did not say hello in 200 ms" } }],
  ["endless-noise", { signal: "SIGKILL", details: { reason: expect.stringContaining("64 KiB") as string } }],
  ["early-jsi", { signal: "SIGKILL", details: { reason: expect.stringContaining("a JavaScript object") as string } }],
  ["exit-7", { exitCode: 1, signal: null, stderrTail: ["starting up", "no module named kitty_kv"] }],
])("a worker that starts with %s is not accepted", async (mode, expected) => {
  const startTimeoutMs = mode === "quiet" ? 200 : 20_000;
  await expect(startFixture("silent_worker", [mode], { startTimeoutMs })).rejects.toMatchObject({
    name: "WorkerExitedError",
    ...expected,
  });
});

test("a program that does not exist gives a WorkerExitedError that names it", async () => {
  await expect(startFixture("no_such_worker")).rejects.toMatchObject({
    name: "WorkerExitedError",
    message: expect.stringContaining("no_such_worker.py") as string,
  });
});

test("the worker dies within 2 s of its parent being killed with SIGKILL", async () => {
  const parentFile = fileURLToPath(new URL("../../fixtures/parent.ts", import.meta.url));
  const parent = spawn(process.execPath, ["--import", "tsx", parentFile], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = (await once(createInterface(parent.stdout), "line")) as [string];
  const pid = Number(line);
  expect(isAlive(pid)).toBe(true);
  parent.kill("SIGKILL");
  const killed = performance.now();
  await expect.poll(() => isAlive(pid), { timeout: 2000, interval: 20 }).toBe(false);
  expect(performance.now() - killed).toBeLessThan(2000);
});
