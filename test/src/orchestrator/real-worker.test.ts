import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { Kitty, type Runner, type WorkerLog } from "../../../src/index.js";
import { findPython } from "../../../src/runner/find-python.js";
import { LocalRunner } from "../../../src/runner/local-runner.js";
import { packageRoot } from "../../../src/runner/package-root.js";
import { LIMITS } from "../fixture-worker.js";
import { isAlive } from "../is-alive.js";
import { TEST_MODEL, whyNoRealWorker } from "../real-worker.js";

const PROMPT = "It was a bright cold day, and the old man went down to the";
const reason = whyNoRealWorker();

describe.skipIf(reason !== undefined)(`the real worker${reason === undefined ? "" : ` (skipped: ${reason})`}`, () => {
  let kitty: Kitty;
  beforeAll(async () => {
    kitty = await Kitty.start({ config: { model: TEST_MODEL } });
  });
  afterAll(() => kitty.close());

  test("writes a text whose chunks add up to its result, with real bytes in the cache", async () => {
    await using session = await kitty.sessions.open({ cache: { preset: "kitty-pro" } });
    const stream = session.generate(PROMPT, { maxNewTokens: 40 });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    const result = await stream.result();
    expect(chunks.map(({ text }) => text).join("")).toBe(result.text);
    expect(chunks.reduce((sum, { tokens }) => sum + tokens, 0)).toBe(result.usage.completionTokens);
    expect(result.kvCache).toMatchObject({ preset: "kitty-pro" });
    expect(result.kvCache.denseBytes).toBeGreaterThan(0);
    expect(await session.memory()).toEqual(result.kvCache);
    expect(session.cache).toMatchObject({ preset: "kitty-pro", sinkTokens: 32, recentTokens: 128 });
  });

  test("says how the engine treated a generation, and each token's log probability where asked for", async () => {
    await using session = await kitty.sessions.open();
    const { logprobs, metrics, kvCache, usage } = await session
      .generate(PROMPT, { maxNewTokens: 6, logprobs: 2, repetitionPenalty: 1.1 })
      .result();
    expect(usage.completionTokens).toBe(6);
    expect(metrics).toMatchObject({ preemptions: 0, kvBytes: kvCache.packedBytes + kvCache.fullPrecisionBytes });
    expect(metrics.queueTimeMs).toBeGreaterThanOrEqual(0);
    expect(metrics.interTokenLatencyMs).toBeGreaterThan(0);
    expect(logprobs).toHaveLength(6);
    for (const { token, logprob, top } of logprobs ?? []) {
      expect(top).toHaveLength(2);
      expect(top[0]?.[1]).toBeGreaterThanOrEqual(top[1]?.[1] ?? 0);
      expect(logprob).toBeLessThanOrEqual(top[0]?.[1] ?? -1);
      if (token === top[0]?.[0]) expect(logprob).toBeCloseTo(top[0][1], 9);
    }
  });

  test("a worker takes on what its configuration says: who finds the queue full hears so at once", async () => {
    const worker = { maxBatch: 1, maxWaiting: 1 };
    await using small = await Kitty.start({ config: { model: TEST_MODEL, worker, pool: { max: 1 } } });
    const sessions = await Promise.all([1, 2, 3].map(() => small.sessions.open()));
    // At most one is stepped and one waits, so one at least is too many.
    const results = sessions.map((session) => session.generate(PROMPT, { maxNewTokens: 60 }).result());
    const outcomes = await Promise.allSettled(results);
    const refused = outcomes.filter(({ status }) => status === "rejected");
    expect(refused.length).toBeGreaterThanOrEqual(1);
    for (const outcome of refused) expect(outcome).toMatchObject({ reason: { code: "queue_full" } });
    expect(outcomes.some(({ status }) => status === "fulfilled")).toBe(true);
    await Promise.all(sessions.map((session) => session.close()));
  });

  test("refuses options that no sampler has, before anything is sent", async () => {
    await using session = await kitty.sessions.open();
    for (const options of [{ minP: 2 }, { repetitionPenalty: 0 }, { logprobs: 21 }]) {
      expect(() => session.generate(PROMPT, options)).toThrow(/Cannot generate/);
    }
  });

  test("writes the same text twice: greedy, and sampled with a seed", async () => {
    for (const options of [{}, { temperature: 0.9, topK: 20, topP: 0.9, seed: 7 }]) {
      await using one = await kitty.sessions.open();
      await using two = await kitty.sessions.open();
      const sampling = { maxNewTokens: 24, ...options };
      const [first, second] = await Promise.all(
        [one, two].map((session) => session.generate(PROMPT, sampling).result()),
      );
      expect(first?.text).toBe(second?.text);
      expect(first?.text).not.toBe("");
    }
  });

  test("goes on in a second turn that costs only its own tokens", async () => {
    await using session = await kitty.sessions.open();
    const first = await session.generate(PROMPT, { maxNewTokens: 8 }).result();
    const second = await session.generate(" and then", { maxNewTokens: 8 }).result();
    expect(second.usage.promptTokens).toBeLessThan(first.usage.promptTokens);
    expect(second.kvCache.tokens).toBeGreaterThan(first.kvCache.tokens);
  });

  test("stops within a step of break, and at once goes on with the next prompt", async () => {
    await using session = await kitty.sessions.open();
    const stream = session.generate(PROMPT, { maxNewTokens: 2000 });
    for await (const { tokens } of stream) if (tokens > 0) break;
    const result = await stream.result();
    expect(result.finishReason).toBe("cancelled");
    // What was sampled before the word arrived; far from what was asked for.
    expect(result.usage.completionTokens).toBeLessThan(50);
    expect((await session.generate(" Then", { maxNewTokens: 2 }).result()).usage.completionTokens).toBe(2);
  });

  test("waits for a slow reader, and loses nothing", async () => {
    await using session = await kitty.sessions.open();
    const stream = session.generate(PROMPT, { maxNewTokens: 700 });
    const iterator = stream[Symbol.asyncIterator]();
    await iterator.next();
    // Another session's generation runs meanwhile: a reader that waits holds up nobody else.
    await using other = await kitty.sessions.open();
    await other.generate(PROMPT, { maxNewTokens: 300 }).result();
    expect((await session.memory()).tokens).toBeLessThan(400);
    const { usage } = await stream.result();
    expect(usage.completionTokens).toBe(700);
  });

  test("an aborted signal gives the partial text", async () => {
    await using session = await kitty.sessions.open();
    const controller = new AbortController();
    const stream = session.generate(PROMPT, { maxNewTokens: 2000, signal: controller.signal });
    let text = "";
    for await (const chunk of stream) {
      text += chunk.text;
      controller.abort();
    }
    const result = await stream.result();
    expect(result.finishReason).toBe("cancelled");
    expect(result.text.startsWith(text)).toBe(true);
  });

  test("one that was aborted before it began costs nothing", async () => {
    await using session = await kitty.sessions.open();
    const result = await session.generate(PROMPT, { signal: AbortSignal.abort() }).result();
    expect(result).toMatchObject({ text: "", finishReason: "cancelled" });
  });

  test.each([
    ["model_not_found", "NotFoundError", { model: "/no/such/model" }],
    ["not_a_model", "NotFoundError", { model: fileURLToPath(new URL(".", import.meta.url)) }],
  ])("sessions.open() rejects with %s as a %s", async (code, name, options) => {
    await expect(kitty.sessions.open(options)).rejects.toMatchObject({ code, name });
  });

  test("a prompt over the context is a ConfigError, and a second generation at once is refused", async () => {
    await using session = await kitty.sessions.open();
    const long = session.generate("word ".repeat(session.model.contextLength + 1));
    await expect(long.result()).rejects.toMatchObject({ name: "ConfigError", code: "context_exceeded" });
    const stream = session.generate(PROMPT, { maxNewTokens: 2000 });
    await expect(session.generate(PROMPT).result()).rejects.toMatchObject({ code: "session_busy" });
    await stream.cancel();
  });

  test("is not disturbed by a library that prints all the time, and its prints arrive as logs", async () => {
    vi.stubEnv("PYTHONPATH", fileURLToPath(new URL("../../fixtures/noisy-site", import.meta.url)));
    const logs: WorkerLog[] = [];
    await using noisy = await Kitty.start({ config: { model: TEST_MODEL }, onLog: (log) => logs.push(log) });
    vi.unstubAllEnvs();
    await using session = await noisy.sessions.open();
    const { text } = await session.generate(PROMPT, { maxNewTokens: 24 }).result();
    await using quiet = await kitty.sessions.open();
    expect(text).toBe((await quiet.generate(PROMPT, { maxNewTokens: 24 }).result()).text);
    await expect.poll(() => logs).toContainEqual({ stream: "stdout", text: 'noise from print {"c":"jsi","r":1}' });
    await expect.poll(() => logs).toContainEqual({ stream: "stderr", text: "noise from a C library" });
    await expect.poll(() => logs).toContainEqual({ stream: "stderr", text: "noise from a child" });
  });

  test("killed in the middle of a text, fails it within 1 s; the next session has a new worker", async () => {
    const pids: (number | undefined)[] = [];
    const local = new LocalRunner({ ...LIMITS, python: null });
    const runner: Runner = {
      startWorker: async (options) => {
        const worker = await local.startWorker(options);
        pids.push(worker.pid);
        return worker;
      },
      describe: () => local.describe(),
      stop: () => local.stop(),
    };
    await using doomed = await Kitty.start({ config: { model: TEST_MODEL }, runner });
    const session = await doomed.sessions.open();
    const stream = session.generate(PROMPT, { maxNewTokens: 2000 });
    let killed = Infinity;
    const read = async (): Promise<void> => {
      for await (const { text } of stream) {
        if (text === "" || killed < Infinity) continue;
        process.kill(pids[0] ?? 0, "SIGKILL");
        killed = performance.now();
      }
    };
    await expect(read()).rejects.toMatchObject({ name: "WorkerExitedError", signal: "SIGKILL" });
    expect(performance.now() - killed).toBeLessThan(1000);
    const fresh = await doomed.sessions.open();
    expect((await fresh.generate(PROMPT, { maxNewTokens: 1 }).result()).usage.completionTokens).toBe(1);
    expect(new Set(pids).size).toBe(2);
  });

  test("dies within 2 s of its parent's SIGKILL", async () => {
    const parentFile = fileURLToPath(new URL("../../fixtures/parent.ts", import.meta.url));
    const args = ["--import", "tsx", parentFile, findPython(null, packageRoot())];
    const parent = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    const [line] = (await once(createInterface(parent.stdout), "line")) as [string];
    expect(isAlive(Number(line))).toBe(true);
    parent.kill("SIGKILL");
    await expect.poll(() => isAlive(Number(line)), { timeout: 2000, interval: 20 }).toBe(false);
  });
});
