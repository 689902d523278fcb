import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { createPythoniaBridge, type PythoniaCom } from "../../../src/bridge/pythonia.js";
import { WorkerExitedError } from "../../../src/errors.js";
import { startFixture } from "../fixture-worker.js";
import { isAlive } from "../is-alive.js";

let folder: string;
let canary: string;
const globals = globalThis as { kittyCanary?: unknown };

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "kitty-kv-canary-"));
});
afterAll(() => rm(folder, { recursive: true }));
beforeEach(() => {
  canary = join(folder, "canary");
  delete globals.kittyCanary;
});

const ATTACKS: readonly (readonly [attack: string, reason: string])[] = [
  ["jsi-require", "a request for a JavaScript object"],
  ["jsi-global", "a request for a JavaScript object"],
  ["jsi-process", "a request for a JavaScript object"],
  ["jsi-constructor", "a frame for an unknown channel"],
  ["unasked-reply", "a reply to request 4242, which nobody made"],
  ["reply-object", "a reply that is not a string"],
  ["reply-pre", "a reply that is not a string"],
  ["reply-string-not-text", "a reply that is not a string"],
  ["reply-not-json", 'an answer to "bench.echo" with neither result nor error'],
  ["reply-no-envelope", 'an answer to "bench.echo" with neither result nor error'],
  ["reply-bad-result", 'an answer to "bench.echo" that is not valid: payload'],
  ["reply-id-text", "a reply without a number"],
  ["ticket-unknown", "an outcome of ticket 2, which nobody holds"],
  ["giant-frame", "a line longer than 16777216 bytes"],
  ["half-frame-exit", "it ended in the middle of a frame"],
  ["binary-noise", "bytes that are not UTF-8"],
  ["text-noise", 'a line that is no frame: "hello from a print"'],
  ["tokens-unknown-stream", 'tokens for stream "nobody", which is not open'],
  ["end-unknown-stream", 'the end of stream "nobody", which is not open'],
  ["event-wrong-types", "an event that is not valid"],
  ["event-negative-count", "an event that is not valid"],
  ["event-logprobs", "an event that is not valid"],
  ["event-more-logprobs", "an event that is not valid"],
  ["event-unknown-kind", "an event that is not valid"],
  ["event-not-array", "an event that is not valid"],
  ["hello-twice", "an event out of turn: hello"],
  ["proto-frame", "an event that is not valid"],
  ["closed-output", "it closed its output"],
];

test.each(ATTACKS)("a worker that tries %s is killed, and the pending call says why", async (attack, reason) => {
  await using worker = await startFixture("hostile_worker", [attack, canary]);
  const error: unknown = await worker.client.benchEcho("x").catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(WorkerExitedError);
  expect((error as WorkerExitedError).details["reason"]).toContain(reason);
  expect((error as WorkerExitedError).message).toContain(reason);
  expect(isAlive(worker.client.bridge.pid)).toBe(false);
  expect(existsSync(canary)).toBe(false);
  expect(globals.kittyCanary).toBeUndefined();
  expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
  await expect(worker.client.benchEcho("y")).rejects.toBe(error);
});

test("a reply that comes a second time kills the worker but leaves the first answer", async () => {
  await using worker = await startFixture("hostile_worker", ["reply-twice"]);
  expect(await worker.client.benchEcho("x")).toBe("x");
  expect((await worker.client.bridge.exited).details["reason"]).toContain("which nobody made");
});

test("a worker that sends more tokens than it has credit for is killed", async () => {
  await using worker = await startFixture("good_worker");
  await worker.client.openSession({ session: "a", model: null, cache: {}, dtype: "auto", device: "auto" });
  const failure = new Promise<Error>((onError, onResult) => {
    const listener = { onTokens: () => undefined, onResult, onError };
    const options = { maxNewTokens: 9, temperature: 0, stop: [] };
    void worker.client.generate(
      { session: "a", stream: "b", prompt: "do:flood", messages: null, options, credit: 100 },
      listener,
    );
  });
  expect((await failure).message).toContain('more tokens than stream "b" had credit for');
});

interface StockBridge {
  jsi: { onMessage(message: object): Promise<void>; m: Record<string, unknown> };
  end(): void;
}
const THEFT = [
  { r: 1, action: "get", ffid: 0, key: "globalThis", args: [] },
  { r: 2, action: "set", ffid: 10_001, key: "kittyCanary", args: ["stolen"] },
];
const deafCom: PythoniaCom = { register: () => undefined, write: () => undefined, writeRaw: () => undefined };

test("the forged frames do take over a stock pythonia bridge, so the canaries can fail", async () => {
  const stock = createRequire(import.meta.url)("pythonia/src/pythonia/Bridge.js") as {
    Bridge: new (com: PythoniaCom) => StockBridge;
  };
  const bridge = new stock.Bridge(deafCom);
  for (const message of THEFT) await bridge.jsi.onMessage(message);
  bridge.end();
  expect(globals.kittyCanary).toBe("stolen");
});

test("the forged frames find nothing in our bridge, even if one reached pythonia", async () => {
  const bridge = createPythoniaBridge(deafCom) as unknown as StockBridge;
  for (const message of THEFT) await bridge.jsi.onMessage(message);
  bridge.end();
  expect(globals.kittyCanary).toBeUndefined();
  expect(Object.keys(bridge.jsi.m)).toEqual([]);
});
