import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { Kitty, type KittyEvent } from "../../../src/index.js";
import { fixturePath } from "../fixture-worker.js";
import { cutConnection } from "./cut-connection.js";
import { startTestServer, type TestServer } from "./test-server.js";

const EVENTS = 3000;
// Stricter than once a second, and over sooner.
const CUT_MS = 150;

describe("events over connections that break", () => {
  let running: TestServer;
  beforeAll(async () => {
    const worker = { python: fixturePath("good_worker") };
    running = await startTestServer({
      isLoaded: false,
      config: { model: null, worker, server: { eventStallTimeoutMs: 400 } },
    });
  });
  afterAll(async () => {
    expect(running.defects).toEqual([]);
    await running[Symbol.asyncDispose]();
  });

  /** Appends events over about two seconds; resolves with the number before the first one. */
  function write(): { since: number; done: Promise<void> } {
    const { log } = running.kitty.jobs;
    const since = log.lastSeq;
    const done = (async () => {
      for (let n = 0; n < EVENTS; n += 15) {
        log.appendAll(Array.from({ length: 15 }, (_, index) => note({ n: n + index })));
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    })();
    return { since, done };
  }

  function note(data: Record<string, unknown>) {
    return { topic: "system", type: "test.note", id: null, data } as const;
  }

  function expectAll(events: readonly KittyEvent[], since: number): void {
    expect(events.map(({ seq }) => seq)).toEqual(Array.from({ length: EVENTS }, (_, index) => since + 1 + index));
    expect(events.map(({ data }) => data["n"])).toEqual(Array.from({ length: EVENTS }, (_, index) => index));
  }

  test("a WebSocket that is cut again and again misses nothing and gets nothing twice", async () => {
    await using line = await cutConnection(running.server.url, CUT_MS);
    const { since, done } = write();
    const events: KittyEvent[] = [];
    while (events.length < EVENTS) {
      const seq = events.at(-1)?.seq ?? since;
      await readUntilCut(`${line.url.replace("http", "ws")}/api/events?since=${String(seq)}`, (event) => {
        events.push(event);
        return events.length === EVENTS;
      });
    }
    await done;
    expectAll(events, since);
    expect(line.cuts).toBeGreaterThan(5);
  });

  test("the SDK's followers do so by themselves, and a job is waited for all the same", async () => {
    await using line = await cutConnection(running.server.url, CUT_MS);
    const calm = await Kitty.connect(running.server);
    const job = await calm.jobs.submit({ kind: "generate", params: { prompts: ["x"], maxNewTokens: 1_000_000_000 } });
    await using kitty = await connected(line.url);
    const { since, done } = write();
    const events: KittyEvent[] = [];
    const states: unknown[] = [];
    const errors: unknown[] = [];
    const notes = new Promise<void>((resolve) => {
      const onEvent = (event: KittyEvent): void => {
        if (event.type === "test.note" && events.push(event) === EVENTS) resolve();
      };
      kitty.jobs.events.subscribe(since, onEvent, { onError: (error) => errors.push(error) });
    });
    kitty.jobs.events.subscribe(0, ({ data }) => states.push(data["state"]), { id: job.id });
    await Promise.all([notes, done]);
    expect(events.map(({ data }) => data["n"])).toEqual(Array.from({ length: EVENTS }, (_, index) => index));
    expect(errors).toEqual([]);
    await job.cancel();
    await expect.poll(() => states).toEqual(["queued", "starting", "running", undefined, "cancelled"]);
    expect(line.cuts).toBeGreaterThan(5);
    await calm.close();
  });

  test("a client that reads nothing is told to come back, costs no memory until then, and finds all", async () => {
    const { log } = running.kitty.jobs;
    const text = "x".repeat(20_000);
    /** 80 MB of events; the most that this process grew by meanwhile. */
    const writeMuch = async (): Promise<number> => {
      const before = process.memoryUsage().rss;
      let most = 0;
      for (let n = 0; n < 4000; n += 50) {
        log.appendAll(Array.from({ length: 50 }, (_, index) => note({ n: n + index, text })));
        await new Promise((resolve) => setTimeout(resolve, 5));
        most = Math.max(most, process.memoryUsage().rss - before);
      }
      return most;
    };
    // What the writing itself takes, and whatever is only needed once.
    await writeMuch();
    const since = log.lastSeq;
    const slow = new WebSocket(`${running.server.url.replace("http", "ws")}/api/events?since=${String(since)}`, {
      headers: { authorization: `Bearer ${running.server.token}` },
    });
    const seen: number[] = [];
    slow.on("message", (data: Buffer) => seen.push((JSON.parse(data.toString()) as KittyEvent).seq));
    await new Promise((resolve) => slow.once("open", resolve));
    slow.pause();
    expect(await writeMuch()).toBeLessThan(60e6);
    const closed = new Promise<[number, string]>((resolve) => {
      slow.once("close", (code, reason) => {
        resolve([code, reason.toString()]);
      });
    });
    // It has read nothing for long enough by now.
    await new Promise((resolve) => setTimeout(resolve, 600));
    slow.resume();
    const [code, reason] = await closed;
    expect([code, reason]).toEqual([4008, expect.stringMatching(/^too slow: come back with since=\d+ at most$/)]);
    expect(seen.length).toBeLessThan(4000);
    expect(seen).toEqual(seen.map((_, index) => since + 1 + index));
    const rest = await running.kitty.jobs.events.page(seen.at(-1) ?? since, 5000);
    expect(seen.length + rest.length).toBe(4000);
  });

  /** Connecting is a call of its own, which may be cut too; then it is for the caller to try again. */
  async function connected(url: string): Promise<Kitty> {
    for (let tries = 1; ; tries += 1) {
      try {
        return await Kitty.connect({ ...running.server, url });
      } catch (error) {
        if (tries === 20) throw error;
        expect(error).toMatchObject({ code: "unreachable" });
      }
    }
  }

  /** One connection's events; resolves when it breaks, or `onEvent` says that it is enough. */
  function readUntilCut(url: string, onEvent: (event: KittyEvent) => boolean): Promise<void> {
    return new Promise((resolve) => {
      const socket = new WebSocket(url, { headers: { authorization: `Bearer ${running.server.token}` } });
      socket.on("error", () => undefined);
      socket.once("close", () => {
        resolve();
      });
      socket.on("message", (data: Buffer) => {
        if (onEvent(JSON.parse(data.toString()) as KittyEvent)) socket.terminate();
      });
    });
  }
});
