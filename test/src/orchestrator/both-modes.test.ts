import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ConfigError, Kitty, KittyError, NotFoundError, UnauthorizedError } from "../../../src/index.js";
import { whyNoRealWorker } from "../real-worker.js";
import { startTestServer, type TestServer } from "../server/test-server.js";

const PROMPT = "It was a bright cold day, and the old man went down to the";
const reason = whyNoRealWorker();

let running: TestServer | undefined;
let folder: string;

beforeAll(async () => {
  if (reason !== undefined) return;
  running = await startTestServer();
  folder = await mkdtemp(join(tmpdir(), "kitty-modes-"));
});
afterAll(async () => {
  await running?.[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

function started(): TestServer {
  if (running === undefined) throw new Error("the server was not started");
  return running;
}

// The embedded Kitty is the one that the server serves, so both write with the same worker.
const MODES: [string, () => Promise<Kitty>][] = [
  ["embedded", () => Promise.resolve(started().kitty)],
  ["remote", () => Kitty.connect(started().server)],
];

describe.skipIf(reason !== undefined).each(MODES)("an %s Kitty", (mode, open) => {
  let kitty: Kitty;
  beforeAll(async () => {
    kitty = await open();
  });
  afterAll(async () => {
    if (mode === "remote") await kitty.close();
  });

  test("writes a text whose chunks add up to its result", async () => {
    await using session = await kitty.sessions.open({ cache: { preset: "kitty" } });
    const stream = session.generate(PROMPT, { maxNewTokens: 24, logprobs: 1 });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    const result = await stream.result();
    expect(chunks.map(({ text }) => text).join("")).toBe(result.text);
    expect(chunks.reduce((sum, { tokens }) => sum + tokens, 0)).toBe(24);
    expect(result).toMatchObject({
      finishReason: "length",
      usage: { completionTokens: 24 },
      kvCache: { preset: "kitty" },
    });
    const logprobs = chunks.flatMap((chunk) => chunk.logprobs ?? []);
    expect(chunks.every((chunk) => chunk.logprobs?.length === chunk.tokens)).toBe(true);
    expect(logprobs).toEqual(result.logprobs);
    expect(result.metrics.queueTimeMs).toBeGreaterThanOrEqual(0);
    expect(await session.memory()).toEqual(result.kvCache);
    expect(session.cache).toMatchObject({ preset: "kitty", sinkTokens: 32 });
    const texts = await session.tokenTexts((result.logprobs ?? []).map(({ token }) => token));
    expect(texts.join("")).toBe(result.text);
  });

  test("goes on where it stopped, and from a saved session", async () => {
    const path = join(folder, `${mode}.session`);
    await using session = await kitty.sessions.open();
    await session.generate(PROMPT, { maxNewTokens: 8 }).result();
    await session.save(path);
    expect((await stat(path)).size).toBeGreaterThan(1000);
    const expected = await session.generate(" and", { maxNewTokens: 8 }).result();
    await using again = await kitty.sessions.open({ saved: path });
    const result = await again.generate(" and", { maxNewTokens: 8 }).result();
    expect(result.text).toBe(expected.text);
    expect(result.kvCache).toEqual(expected.kvCache);
  });

  test("a fork goes on from the same place on its own, and outlives its source", async () => {
    const session = await kitty.sessions.open({ cache: { preset: "kitty" } });
    await session.generate(PROMPT, { maxNewTokens: 40 }).result();
    await using fork = await session.fork();
    expect(fork.id).not.toBe(session.id);
    expect({ model: fork.model, cache: fork.cache }).toEqual({ model: session.model, cache: session.cache });
    expect(await fork.memory()).toEqual(await session.memory());
    const wanted = await session.generate(" and", { maxNewTokens: 24 }).result();
    await session.close();
    const found = await fork.generate(" and", { maxNewTokens: 24 }).result();
    expect(found.text).toBe(wanted.text);
    expect(found.kvCache).toEqual(wanted.kvCache);
    await expect(session.fork()).rejects.toMatchObject({ code: "session_not_found" });
    await expect(session.fork()).rejects.toBeInstanceOf(NotFoundError);
    const busy = fork.generate(PROMPT, { maxNewTokens: 4000 });
    for await (const chunk of busy) {
      await expect(fork.fork()).rejects.toMatchObject({ code: "session_busy" });
      expect(chunk.tokens).toBeGreaterThan(0);
      break;
    }
    await busy.ended();
    await expect(fork.fork({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "cancelled" });
  });

  test("a reader that leaves cancels, and the result has the text so far", async () => {
    await using session = await kitty.sessions.open();
    const stream = session.generate(PROMPT, { maxNewTokens: 4000 });
    let text = "";
    for await (const chunk of stream) {
      text += chunk.text;
      if (text.length > 10) break;
    }
    const result = await stream.result();
    expect(result.finishReason).toBe("cancelled");
    expect(result.text.startsWith(text)).toBe(true);
    expect(result.usage.completionTokens).toBeLessThan(1000);
    const next = await session.generate(" then", { maxNewTokens: 2 }).result();
    expect(next.finishReason).toBe("length");
  });

  test("a signal cancels, before the start as well", async () => {
    await using session = await kitty.sessions.open();
    const { finishReason, text } = await session.generate(PROMPT, { signal: AbortSignal.abort() }).result();
    expect({ finishReason, text }).toEqual({ finishReason: "cancelled", text: "" });
    const controller = new AbortController();
    const stream = session.generate(PROMPT, { maxNewTokens: 4000, signal: controller.signal });
    const result = stream.result();
    setTimeout(() => {
      controller.abort();
    }, 100);
    expect((await result).finishReason).toBe("cancelled");
  });

  test("a text longer than a worker may send ahead comes whole", async () => {
    await using session = await kitty.sessions.open();
    const stream = session.generate(PROMPT, { maxNewTokens: 320 });
    let tokens = 0;
    for await (const chunk of stream) tokens += chunk.tokens;
    expect(tokens).toBe((await stream.result()).usage.completionTokens);
  });

  test("errors have their class and code", async () => {
    await using session = await kitty.sessions.open();
    await expect(kitty.sessions.open({ model: "/does/not/exist" })).rejects.toMatchObject({ code: "model_not_found" });
    await expect(kitty.sessions.open({ model: "/does/not/exist" })).rejects.toBeInstanceOf(NotFoundError);
    await expect(kitty.sessions.open({ saved: join(folder, "none") })).rejects.toBeInstanceOf(NotFoundError);
    await expect(kitty.sessions.open({ cache: { preset: "kity" as "kitty" } })).rejects.toBeInstanceOf(ConfigError);
    expect(() => session.generate("")).toThrow(ConfigError);
    const tooLong = session.generate("word ".repeat(6000)).result();
    await expect(tooLong).rejects.toMatchObject({ code: "context_exceeded" });
    const busy = session.generate(PROMPT, { maxNewTokens: 4000 });
    for await (const chunk of busy) {
      await expect(session.generate(PROMPT).result()).rejects.toMatchObject({ code: "session_busy" });
      expect(chunk.tokens).toBeGreaterThan(0);
      break;
    }
  });

  test("what is closed says so", async () => {
    const session = await kitty.sessions.open();
    await session.close();
    await session.close();
    await expect(session.memory()).rejects.toMatchObject({ code: "session_not_found" });
    await expect(session.generate("Hi").result()).rejects.toBeInstanceOf(NotFoundError);
  });
});

describe.skipIf(reason !== undefined)("connecting", () => {
  test("needs the token, an address and a server", async () => {
    const { url, token } = started().server;
    await expect(Kitty.connect({ url, token: "wrong" })).rejects.toBeInstanceOf(UnauthorizedError);
    await expect(Kitty.connect({ url: "no address", token })).rejects.toBeInstanceOf(ConfigError);
    await expect(Kitty.connect({ url: "http://127.0.0.1:1", token })).rejects.toMatchObject({ code: "unreachable" });
    await expect(Kitty.connect({ url: `${url}/nothing`, token })).rejects.toBeInstanceOf(KittyError);
  });

  test("closes what it opened, and leaves the rest", async () => {
    const { server, ask } = started();
    await using mine = await Kitty.connect(server);
    await using theirs = await Kitty.connect(server);
    const [a, b] = [await mine.sessions.open(), await theirs.sessions.open()];
    await mine.close();
    const { sessions } = (await (await ask("/api/sessions")).json()) as { sessions: { id: string }[] };
    expect(sessions.map(({ id }) => id)).toContain(b.id);
    expect(sessions.map(({ id }) => id)).not.toContain(a.id);
    expect(started().defects).toEqual([]);
  });
});
