import { expect, test } from "vitest";
import { CancelledError, KittyError, TimeoutError } from "../../../src/errors.js";
import { startFixture } from "../fixture-worker.js";

const SESSION = { session: "a", model: null, cache: {}, dtype: "auto", device: "auto" } as const;

test("a call comes back with what the worker answered, whatever characters it holds", async () => {
  await using worker = await startFixture("good_worker");
  const payload = 'line\nline\u2028 "quoted" \\ é 🐱 \u0000';
  expect(await worker.client.benchEcho(payload)).toBe(payload);
});

test("a hundred calls at once get each their own answer", async () => {
  await using worker = await startFixture("good_worker");
  const payloads = Array.from({ length: 100 }, (_, i) => `payload ${String(i)}`);
  expect(await Promise.all(payloads.map((payload) => worker.client.benchEcho(payload)))).toEqual(payloads);
});

test("a long call resolves with the outcome that follows its ticket", async () => {
  await using worker = await startFixture("good_worker");
  expect(await worker.client.openSession(SESSION)).toMatchObject({ session: "a", model: { name: "fixture" } });
});

test("long calls at once get each their own outcome, also when it comes before its ticket or right behind it", async () => {
  await using worker = await startFixture("good_worker");
  const names = Array.from({ length: 60 }, (_, i) => `s${String(i)}`);
  const opened = await Promise.all(
    names.map((session, i) => worker.client.openSession({ ...SESSION, session, model: i % 2 === 0 ? "early" : null })),
  );
  expect(opened.map(({ session }) => session)).toEqual(names);
});

test("an error of the worker keeps its code and text", async () => {
  await using worker = await startFixture("good_worker");
  await expect(worker.client.openSession({ ...SESSION, model: "missing" })).rejects.toMatchObject({
    name: "NotFoundError",
    code: "model_not_found",
    message: 'Cannot open model "missing": no such folder',
  });
});

test("an unexpected Python exception arrives with its last line and its traceback", async () => {
  await using worker = await startFixture("good_worker");
  const error: unknown = await worker.client.bridge.call("fixture.raise", {}).catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(KittyError);
  expect(error).toMatchObject({
    code: "python_exception",
    message: expect.stringContaining("ValueError: unexpected") as string,
  });
  expect((error as KittyError).details["traceback"]).toContain("raise_unexpected");
});

test("a call that is not answered in its time rejects with TimeoutError, and the bridge goes on", async () => {
  await using worker = await startFixture("good_worker");
  const never = worker.client.bridge.call("fixture.never", {}, { timeoutMs: 50 });
  await expect(never).rejects.toBeInstanceOf(TimeoutError);
  await expect(never).rejects.toThrow('Cannot finish "fixture.never": no answer from the worker in 50 ms');
  expect(await worker.client.benchEcho("still here")).toBe("still here");
});

test("an aborted signal rejects a call with CancelledError, before and during it", async () => {
  await using worker = await startFixture("good_worker");
  const controller = new AbortController();
  const never = worker.client.bridge.call("fixture.never", {}, { signal: controller.signal });
  controller.abort(new Error("enough"));
  await expect(never).rejects.toBeInstanceOf(CancelledError);
  await expect(worker.client.ping({ signal: controller.signal })).rejects.toMatchObject({
    cause: { message: "enough" },
  });
});

test("a wrong parameter never reaches the worker", async () => {
  await using worker = await startFixture("good_worker");
  await expect(worker.client.openSession({ ...SESSION, session: "../a b" })).rejects.toThrow("must be 1 to 64 letters");
  expect(await worker.client.benchEcho("x")).toBe("x");
});

test("what is printed before hello becomes log events", async () => {
  await using worker = await startFixture("silent_worker", ["hello-after-noise"]);
  const printed = worker.logs.filter(({ stream }) => stream === "stdout").map(({ text }) => text);
  expect(printed).toEqual(["Welcome to the cluster", "", "{not json}", "\ufffd\ufffd"]);
});

test("events are pushed in order and none is lost", async () => {
  await using worker = await startFixture("good_worker");
  let events = 0;
  let text = "";
  await worker.client.benchEmit({ stream: "b", events: 2000, text: "ab", tokensPerSecond: null }, (part, tokens) => {
    events += tokens;
    text += part;
  });
  expect([events, text]).toEqual([2000, "ab".repeat(2000)]);
});

test("eight workers at once answer each for themselves", async () => {
  const workers = await Promise.all(Array.from({ length: 8 }, () => startFixture("good_worker")));
  const answers = await Promise.all(workers.map(({ client }, i) => client.benchEcho(String(i))));
  expect(answers).toEqual(["0", "1", "2", "3", "4", "5", "6", "7"]);
  expect(new Set(workers.map(({ client }) => client.bridge.pid)).size).toBe(8);
  await workers[3]?.[Symbol.asyncDispose]();
  expect(await workers[4]?.client.benchEcho("unharmed")).toBe("unharmed");
  await Promise.all(workers.map((worker) => worker[Symbol.asyncDispose]()));
});
