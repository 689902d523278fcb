import { expect, test } from "vitest";
import { Kitty, type KittyOptions } from "../../../src/index.js";
import { fixturePath } from "../fixture-worker.js";

const NO_COUNTS = { reusedTokens: 0, draftedTokens: 0, acceptedTokens: 0 };

function start(options: KittyOptions = {}): Promise<Kitty> {
  return Kitty.start({ config: { worker: { python: fixturePath("good_worker") } }, ...options });
}

test("a prompt comes back as chunks and a result", async () => {
  await using kitty = await start();
  await using session = await kitty.sessions.open({ cache: { preset: "kitty", sinkTokens: 4 } });
  expect(session.cache).toEqual({ preset: "kitty", sinkTokens: 4 });
  const stream = session.generate("hello", { maxNewTokens: 3 });
  const texts: string[] = [];
  for await (const { text } of stream) texts.push(text);
  expect(texts).toEqual(["w0 ", "w1 ", "w2 "]);
  expect(await stream.result()).toEqual({
    text: "w0 w1 w2 ",
    finishReason: "length",
    usage: { promptTokens: 1, completionTokens: 3 },
    timeToFirstTokenMs: 1.5,
    tokensPerSecond: 100,
    metrics: { queueTimeMs: 0.5, interTokenLatencyMs: 10, preemptions: 0, kvBytes: 30, ...NO_COUNTS },
    kvCache: {
      preset: "kitty-pro",
      tokens: 3,
      packedBytes: 10,
      fullPrecisionBytes: 20,
      denseBytes: 60,
      compression: 2,
    },
  });
});

test("result() without iterating drains far beyond the credit window", async () => {
  await using kitty = await start();
  const session = await kitty.sessions.open();
  const { usage } = await session.generate("hello", { maxNewTokens: 2000 }).result();
  expect(usage.completionTokens).toBe(2000);
});

test("reading refills the credit: a long generation arrives whole", async () => {
  await using kitty = await start();
  const session = await kitty.sessions.open();
  let tokens = 0;
  for await (const chunk of session.generate("hello", { maxNewTokens: 2000 })) tokens += chunk.tokens;
  expect(tokens).toBe(2000);
});

test("a worker stops sending when nobody reads", async () => {
  await using kitty = await start();
  const session = await kitty.sessions.open();
  const stream = session.generate("hello", { maxNewTokens: 100_000 });
  // The fixture answers calls in order, so after these the tokens it had credit for are long here.
  for (let i = 0; i < 50; i++) await session.memory();
  const iterator = stream[Symbol.asyncIterator]();
  await iterator.next();
  await iterator.return?.();
  const { finishReason, usage } = await stream.result();
  expect(finishReason).toBe("cancelled");
  expect(usage.completionTokens).toBeLessThanOrEqual(256);
});

test("result() goes on with a generation that was waiting for its reader, and leaves what it had for iteration", async () => {
  await using kitty = await start();
  const session = await kitty.sessions.open();
  const stream = session.generate("hello", { maxNewTokens: 1000 });
  for (let i = 0; i < 50; i++) await session.memory();
  expect((await stream.result()).usage.completionTokens).toBe(1000);
  let tokens = 0;
  for await (const chunk of stream) tokens += chunk.tokens;
  expect(tokens).toBe(1000);
});

test("break cancels, and the session can generate again at once", async () => {
  await using kitty = await start();
  const session = await kitty.sessions.open();
  const stream = session.generate("hello", { maxNewTokens: 100_000 });
  for await (const chunk of stream) if (chunk.text === "w4 ") break;
  const { finishReason, text } = await stream.result();
  expect(finishReason).toBe("cancelled");
  expect(text).toMatch(/^w0 w1 w2 w3 w4 /);
  expect((await session.generate("again", { maxNewTokens: 2 }).result()).text).toBe("w0 w1 ");
});

test("a generation that is cancelled while it waits for the one before never runs", async () => {
  await using kitty = await start();
  const session = await kitty.sessions.open();
  const first = session.generate("hello", { maxNewTokens: 100_000 });
  const cancelled = first.cancel();
  const second = session.generate("hello", { maxNewTokens: 100_000 });
  await Promise.all([cancelled, second.cancel()]);
  expect((await second.result()).finishReason).toBe("cancelled");
});

test("several sessions generate at once in one worker", async () => {
  await using kitty = await start();
  const sessions = await Promise.all(Array.from({ length: 8 }, () => kitty.sessions.open()));
  const results = await Promise.all(
    sessions.map((session, i) => session.generate("x", { maxNewTokens: 100 + i }).result()),
  );
  expect(results.map(({ usage }) => usage.completionTokens)).toEqual([100, 101, 102, 103, 104, 105, 106, 107]);
});

test("an aborted signal ends the iteration, and result() has the partial text", async () => {
  await using kitty = await start();
  const session = await kitty.sessions.open();
  const controller = new AbortController();
  const stream = session.generate("hello", { maxNewTokens: 100_000, signal: controller.signal });
  let chunks = 0;
  for await (const chunk of stream) {
    chunks += chunk.tokens;
    if (chunks === 3) controller.abort();
  }
  expect(chunks).toBe(3);
  expect(await stream.result()).toMatchObject({
    finishReason: "cancelled",
    text: expect.stringMatching(/^w0 w1 w2 /) as string,
  });
});

test("a signal that was aborted before gives an empty cancelled result", async () => {
  await using kitty = await start();
  const session = await kitty.sessions.open();
  const stream = session.generate("hello", { maxNewTokens: 100_000, signal: AbortSignal.abort() });
  for await (const chunk of stream) expect(chunk).toBe("no chunk at all");
  expect((await stream.result()).finishReason).toBe("cancelled");
});

test("cancel() resolves when the worker has stopped", async () => {
  await using kitty = await start();
  const session = await kitty.sessions.open();
  const stream = session.generate("hello", { maxNewTokens: 100_000 });
  await stream.cancel();
  expect((await stream.result()).finishReason).toBe("cancelled");
  await stream.cancel();
});

test("a crash fails what is open with WorkerExitedError, and the next open starts a new worker", async () => {
  await using kitty = await start();
  const session = await kitty.sessions.open();
  const bystander = await kitty.sessions.open();
  const stream = session.generate("do:kill");
  const read = async (): Promise<void> => {
    for await (const chunk of stream) expect(chunk).toBe("no chunk at all");
  };
  await expect(read()).rejects.toMatchObject({
    name: "WorkerExitedError",
    signal: "SIGKILL",
    stderrTail: ["last words"],
  });
  await expect(stream.result()).rejects.toMatchObject({ name: "WorkerExitedError" });
  await expect(bystander.memory()).rejects.toMatchObject({ name: "WorkerExitedError" });
  await expect(bystander.generate("x").result()).rejects.toMatchObject({ name: "WorkerExitedError" });
  await bystander.close();
  const fresh = await kitty.sessions.open();
  expect((await fresh.generate("x", { maxNewTokens: 1 }).result()).text).toBe("w0 ");
});

test("sessions.open() can be cancelled, and the worker does not keep what it opened", async () => {
  await using kitty = await start();
  const controller = new AbortController();
  const opening = kitty.sessions.open({ model: "slow", signal: controller.signal });
  setImmediate(() => {
    controller.abort();
  });
  await expect(opening).rejects.toMatchObject({ name: "CancelledError" });
  const session = await kitty.sessions.open({ model: "slow" });
  // The fixture reports its number of open sessions here.
  await expect.poll(async () => (await session.memory()).tokens).toBe(1);
});

test("sessions.open() passes on that there is no such model", async () => {
  await using kitty = await start();
  await expect(kitty.sessions.open({ model: "missing" })).rejects.toMatchObject({
    name: "NotFoundError",
    code: "model_not_found",
  });
});

test.each([
  [
    { cache: { preset: "kity" } },
    "unknown_preset",
    'Cannot open a session: unknown preset "kity", did you mean "kitty"?',
  ],
  [{ cache: { prest: "kitty" } }, "invalid_argument", 'unknown key "prest", did you mean "preset"?'],
  [{ cache: { boostRatio: 2 } }, "invalid_argument", "boostRatio must be <= 1, got 2"],
])("sessions.open(%j) is refused before anything is sent", async (options, code, message) => {
  await using kitty = await start();
  const opening = kitty.sessions.open(options as object);
  await expect(opening).rejects.toMatchObject({ name: "ConfigError", code });
  await expect(opening).rejects.toThrow(message);
});

test("generate() refuses wrong input at once", async () => {
  await using kitty = await start();
  const session = await kitty.sessions.open();
  const refusals: readonly (readonly [options: object, message: string])[] = [
    [{ maxNewTokens: 0 }, "Cannot generate: maxNewTokens must be > 0, got 0"],
    [{ maxNewTokens: -5 }, "maxNewTokens must be > 0, got -5"],
    [{ maxNewTokens: 1.5 }, "maxNewTokens must be a whole number, got 1.5"],
    [{ maxNewTokens: "9" }, 'maxNewTokens must be a number, got "9"'],
    [{ temperature: -1 }, "temperature must be >= 0, got -1"],
    [{ temperature: NaN }, "temperature must be a number, got NaN"],
    [{ temperature: Infinity }, "temperature must be a number, got Infinity"],
    [{ topP: 0 }, "topP must be > 0, got 0"],
    [{ topP: 1.1 }, "topP must be <= 1, got 1.1"],
    [{ topK: 0 }, "topK must be > 0, got 0"],
    [{ seed: 0.5 }, "seed must be a whole number, got 0.5"],
    [{ stop: [""] }, 'stop.0 must be >= 1 characters, got ""'],
    [{ stop: Array.from({ length: 17 }, String) }, "stop must be <= 16 items"],
    [{ max_new_tokens: 3 }, 'unknown key "max_new_tokens", did you mean "maxNewTokens"?'],
  ];
  for (const [options, message] of refusals) expect(() => session.generate("x", options), message).toThrow(message);
  expect(() => session.generate("")).toThrow("Cannot generate: the prompt is empty");
  expect(() => session.generate([])).toThrow("Cannot generate: there are no messages");
  expect(() => session.generate("half \ud83d pair")).toThrow("not valid Unicode at position 5");
  expect(() => session.generate([{ role: "robot" as "user", content: "" }])).toThrow(
    "must be one of system, user, assistant",
  );
});

test("close() ends sessions and worker, twice is fine, and opening then says so", async () => {
  const kitty = await start();
  const session = await kitty.sessions.open();
  const stream = session.generate("hello", { maxNewTokens: 100_000 });
  await kitty.close();
  await kitty.close();
  await expect(stream.result()).rejects.toMatchObject({ name: "WorkerExitedError" });
  await expect(kitty.sessions.open()).rejects.toThrow("Cannot open a session: this Kitty is closed");
});

test("Kitty.start() refuses what it does not have", async () => {
  await expect(start({ config: { runner: "slurm" } })).rejects.toMatchObject({
    name: "ConfigError",
    code: "apptainer_not_configured",
  });
  await expect(start({ config: { worker: { python: "/no/python" } } })).rejects.toMatchObject({
    code: "python_not_found",
  });
  await expect(start({ signal: AbortSignal.abort() })).rejects.toMatchObject({ name: "CancelledError" });
});
