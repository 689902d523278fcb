import { request, type IncomingMessage } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { EventTopic, KittyEvent } from "../../../src/job/event.js";
import { readEvents } from "../../../src/orchestrator/remote/read-events.js";
import { whyNoRealWorker } from "../real-worker.js";
import { startTestServer, type TestServer } from "./test-server.js";

const reason = whyNoRealWorker();

interface Page {
  events: KittyEvent[];
  next: number;
  latest: number;
}

describe.skipIf(reason !== undefined)("events over HTTP", () => {
  let running: TestServer;
  let first: number;
  beforeAll(async () => {
    running = await startTestServer({ isLoaded: false });
    first = running.kitty.jobs.log.lastSeq;
    for (let n = 1; n <= 1200; n++) note(n % 3 === 0 ? "session" : "system", n);
  });
  afterAll(() => running[Symbol.asyncDispose]());

  function note(topic: EventTopic, n: number): void {
    running.kitty.jobs.log.append({ topic, type: "test.note", id: null, data: { n } });
  }

  async function page(query: string): Promise<Page> {
    return (await (await running.ask(`/api/events?${query}`)).json()) as Page;
  }

  function follow(query: string): Promise<IncomingMessage> {
    const { url, token } = running.server;
    const headers = { authorization: `Bearer ${token}`, accept: "text/event-stream" };
    return new Promise((resolve, reject) => {
      request(`${url}/api/events?${query}`, { headers, agent: false }, resolve).once("error", reject).end();
    });
  }

  test("pages go from any number to the latest, each event once, topics apart", async () => {
    const seen: number[] = [];
    let since = first;
    for (;;) {
      const { events, next, latest } = await page(`since=${String(since)}&limit=500`);
      seen.push(...events.map(({ data }) => Number(data["n"])));
      since = next;
      if (next === latest) break;
    }
    expect(seen).toEqual(Array.from({ length: 1200 }, (_, index) => index + 1));
    const some = await page(`since=${String(first)}&limit=9&topics=session,job`);
    expect(some.events.map(({ data }) => data["n"])).toEqual([3, 6, 9]);
    expect(some.next).toBe(first + 9);
    expect(await page(`since=${String(some.latest)}`)).toEqual({ events: [], next: some.latest, latest: some.latest });
  });

  test("a stream has those in the log, then those to come, and ends with its client", async () => {
    const { lastSeq } = running.kitty.jobs.log;
    const answer = await follow(`since=${String(lastSeq - 600)}&topics=system`);
    expect(answer.headers["content-type"]).toBe("text/event-stream; charset=utf-8");
    const numbers: unknown[] = [];
    for await (const text of readEvents(answer)) {
      const { data } = JSON.parse(text) as KittyEvent;
      numbers.push(data["n"]);
      if (numbers.length === 400) {
        note("session", 5000);
        note("system", 5001);
      }
      if (data["n"] === 5001) break;
    }
    expect(numbers.length).toBe(401);
    expect(new Set(numbers).size).toBe(401);
    expect(running.defects).toEqual([]);
  });

  test("a client that reads nothing costs no memory, and gets all once it reads", async () => {
    const text = "x".repeat(20_000);
    const { log } = running.kitty.jobs;
    const since = log.lastSeq;
    const answer = await follow(`since=${String(since)}`);
    answer.pause();
    await new Promise((resolve) => setTimeout(resolve, 100));
    global.gc?.();
    const before = process.memoryUsage().rss;
    for (let n = 0; n < 100; n++) {
      const events = Array.from({ length: 50 }, () => ({
        ...{ topic: "system", type: "test.note", id: null, data: { text } },
      }));
      log.appendAll(events as never);
      await new Promise((resolve) => setImmediate(resolve));
    }
    // 100 MB are in the log, of which the sockets' buffers and one page may be here.
    const grown = process.memoryUsage().rss - before;
    expect(grown).toBeLessThan(60e6);
    let count = 0;
    for await (const event of readEvents(answer)) {
      expect((JSON.parse(event) as KittyEvent).seq).toBe(since + (count += 1));
      if (count === 5000) break;
    }
  });
});
