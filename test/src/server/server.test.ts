import { request } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import type { KittyEvent } from "../../../src/job/event.js";
import { whyNoRealWorker } from "../real-worker.js";
import { startTestServer, type TestServer } from "./test-server.js";

const reason = whyNoRealWorker();

interface Refusal {
  error: { code: string; message: string; details: object };
}

describe.skipIf(reason !== undefined)("the HTTP server", () => {
  let running: TestServer;
  beforeAll(async () => {
    running = await startTestServer({ isLoaded: false });
  });
  afterAll(() => running[Symbol.asyncDispose]());

  /** A request with headers that fetch would not let through. */
  function raw(path: string, headers: Record<string, string>): Promise<number> {
    const { port } = new URL(running.server.url);
    const authorization = `Bearer ${running.server.token}`;
    return new Promise((resolve, reject) => {
      const options = { host: "127.0.0.1", port, path, headers: { authorization, ...headers } };
      request(options, (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      })
        .once("error", reject)
        .end();
    });
  }

  function follow(query: string, headers: Record<string, string> = {}): WebSocket {
    return new WebSocket(`${running.server.url.replace("http", "ws")}/api/events${query}`, {
      headers: { authorization: `Bearer ${running.server.token}`, ...headers },
    });
  }

  async function refused(socket: WebSocket): Promise<number> {
    return new Promise((resolve) => {
      socket.once("error", () => undefined);
      socket.once("unexpected-response", (_, response) => {
        socket.terminate();
        resolve(response.statusCode ?? 0);
      });
    });
  }

  test("answers nothing without the token but its health and an empty page", async () => {
    const open = { "/healthz": 200, "/readyz": 503, "/": 404, "/jobs": 404 };
    for (const [path, status] of Object.entries(open)) {
      expect([path, (await fetch(running.server.url + path)).status]).toEqual([path, status]);
    }
    for (const path of ["/metrics", "/api/system", "/api/jobs", "/api/nothing", "/v1/models", "/api/openapi.json"]) {
      for (const authorization of ["", "Bearer wrong", "Basic abc", `Bearer ${running.server.token}x`]) {
        const response = await fetch(running.server.url + path, { headers: { authorization } });
        expect([path, response.status]).toEqual([path, 401]);
        expect(((await response.json()) as Refusal).error.code).toBe("unauthorized");
      }
    }
  });

  test("refuses other Hosts and Origins, for WebSockets as well", async () => {
    const host = new URL(running.server.url).host;
    expect(await raw("/api/system", {})).toBe(200);
    expect(await raw("/api/system", { origin: `http://${host}` })).toBe(200);
    for (const headers of [{ host: "evil.example" }, { origin: "http://evil.example" }, { origin: "null" }]) {
      expect(await raw("/api/system", headers as Record<string, string>)).toBe(403);
      expect(await refused(follow("", headers as Record<string, string>))).toBe(403);
    }
    expect(await refused(follow("", { authorization: "Bearer wrong" }))).toBe(401);
    expect(await refused(follow("?since=-1"))).toBe(400);
    expect(await refused(follow("?topics=jobs"))).toBe(400);
  });

  test("sends headers that keep browsers from misusing it", async () => {
    const { headers } = await running.ask("/");
    expect(headers.get("content-security-policy")).toContain("default-src 'none'");
    expect(headers.get("x-content-type-options")).toBe("nosniff");
    expect(headers.get("x-powered-by")).toBeNull();
    expect(headers.get("access-control-allow-origin")).toBeNull();
    expect(headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
  });

  test("describes itself by the schemas that it checks with", async () => {
    const document = (await (await running.ask("/api/openapi.json")).json()) as {
      openapi: string;
      paths: Record<string, Record<string, { requestBody?: { content: Record<string, { schema: object }> } }>>;
    };
    expect(document.openapi).toBe("3.1.0");
    expect(Object.keys(document.paths)).toEqual(
      expect.arrayContaining(["/healthz", "/api/sessions/{id}", "/api/jobs/{id}/logs", "/v1/chat/completions"]),
    );
    const body = document.paths["/v1/completions"]?.["post"]?.requestBody?.content["application/json"]?.schema;
    expect(body).toMatchObject({ required: ["model", "prompt"], additionalProperties: false });
  });

  test("tells wrong routes, methods and bodies apart", async () => {
    const cases: [string, string, string | undefined, number][] = [
      ["GET", "/api/nothing", undefined, 404],
      ["DELETE", "/api/system", undefined, 405],
      ["POST", "/api/sessions", "{", 400],
      ["POST", "/api/sessions", "[]", 400],
      ["POST", "/api/sessions", '{"modle": null}', 400],
      ["POST", "/api/sessions", "[".repeat(100_000), 400],
      ["POST", "/api/sessions", `${'{"model":'.repeat(5000)}1${"}".repeat(5000)}`, 400],
      ["POST", "/api/sessions", JSON.stringify({ model: "x".repeat(17 * 2 ** 20) }), 413],
      ["GET", "/api/sessions/..%2f..%2fetc%2fpasswd", undefined, 404],
      ["GET", "/api/jobs/..%2F..%2F..%2Fetc%2Fpasswd/logs", undefined, 404],
      ["GET", "/api/jobs/%00/logs", undefined, 404],
      ["GET", "/api/jobs/%E0%A4%A", undefined, 400],
      ["GET", "/api/jobs?limit=0", undefined, 400],
      ["GET", "/api/jobs?limt=1", undefined, 400],
      ["GET", "/../../etc/passwd", undefined, 404],
      ["DELETE", "/api/instances/..%2f..%2fetc", undefined, 400],
      ["POST", "/api/jobs", '{"kind":"simulat"}', 400],
      ["POST", "/api/instances", '{"image":"a.sif"}', 400],
      ["POST", "/api/instances", '{"image":"/a.sif","overlay":"/a,b.img"}', 400],
      ["POST", "/api/instances", '{"image":"/none.sif","overlay":"/none.img","count":1000}', 400],
      ["POST", "/api/instances", '{"image":"/none.sif","overlay":"/none.img"}', 404],
      ["POST", "/api/instances", "{}", 400],
      ["GET", "/api/instances/kitty-0123456789ab", undefined, 404],
      ["GET", "/api/instances/kitty-0123456789ab/logs", undefined, 404],
      ["GET", "/api/instances/..%2f..%2fetc/logs", undefined, 400],
      ["GET", "/api/overlays/status?path=etc", undefined, 400],
      ["GET", "/api/cluster", undefined, 404],
      ["GET", "/api/overlays/status?path=/none.img", undefined, 404],
      ["POST", "/api/overlays", '{"path":"../x","sizeMiB":64}', 400],
      ["POST", "/api/overlays", '{"path":"/none/a:b.img","sizeMiB":64}', 400],
      ["POST", "/api/overlays/seal", '{"path":"/none.img"}', 404],
      ["POST", "/api/overlays/verify", '{"path":"/none.img"}', 404],
      ["POST", "/api/overlays/verify", "{}", 400],
      ["GET", "/api/events?since=x", undefined, 400],
      ["GET", "/api/events?since=999999999", undefined, 400],
      ["GET", "/api/events?topics=jobs", undefined, 400],
    ];
    for (const [method, path, body, status] of cases) {
      const response = await running.ask(path, { method, body });
      expect([method, path, body?.slice(0, 20), response.status]).toEqual([method, path, body?.slice(0, 20), status]);
      expect(Object.keys(((await response.json()) as Refusal).error)).toEqual(
        expect.arrayContaining(["code", "message", "details"]),
      );
    }
  });

  test("jobs: a key makes submitting idempotent, another spec under it is a conflict", async () => {
    const spec = { kind: "simulate", dependsOn: [], priority: -5 };
    const headers = { "idempotency-key": "run-42" };
    const submit = async (body: object) => running.ask("/api/jobs", { body, headers });
    const first = await submit(spec);
    expect(first.status).toBe(201);
    const { id } = (await first.json()) as { id: string };
    expect(await (await submit(spec)).json()).toMatchObject({ id });
    expect((await submit({ ...spec, priority: 7 })).status).toBe(409);
    await running.ask(`/api/jobs/${id}/cancel`, { method: "POST" });
    expect(await (await running.ask(`/api/jobs/${id}`)).json()).toMatchObject({ id, kind: "simulate" });
    const { jobs } = (await (await running.ask("/api/jobs?limit=10")).json()) as { jobs: { id: string }[] };
    expect(jobs.map((job) => job.id)).toContain(id);
    expect((await running.ask(`/api/jobs/${id}/logs?offset=0`)).status).toBe(200);
  });

  test("events come from any number on, live ones behind, topics apart", async () => {
    const { log } = running.kitty.jobs;
    const note = (topic: "session" | "system", n: number) =>
      log.append({ topic, type: "test.note", id: null, data: { n } });
    const since = log.lastSeq;
    note("session", 1);
    note("system", 2);
    const read = async (socket: WebSocket, count: number): Promise<KittyEvent[]> => {
      const events: KittyEvent[] = [];
      return new Promise((resolve) => {
        socket.on("message", (data: Buffer) => {
          const event = JSON.parse(data.toString()) as KittyEvent;
          // What the tests before began may still go on.
          if (event.type === "test.note") events.push(event);
          if (events.length === count) resolve(events);
        });
      });
    };
    const [all, some] = [follow(`?since=${String(since)}`), follow(`?since=${String(since)}&topics=system`)];
    const reading = Promise.all([read(all, 502), read(some, 501)]);
    await new Promise((resolve) => all.once("open", resolve));
    for (let n = 3; n <= 502; n++) note("system", n);
    const [everything, systemOnly] = await reading;
    expect(everything.map(({ data }) => data["n"])).toEqual(Array.from({ length: 502 }, (_, index) => index + 1));
    expect(systemOnly.map(({ data }) => data["n"])).toEqual(Array.from({ length: 501 }, (_, index) => index + 2));
    const seqs = everything.map(({ seq }) => seq);
    expect(seqs).toEqual([...new Set(seqs)].sort((a, b) => a - b));
    const closed = new Promise((resolve) => some.once("close", resolve));
    some.send("x".repeat(5000));
    expect(await closed).toBe(1009);
    all.close();
  });
});

describe.skipIf(reason !== undefined)("limits", () => {
  test("an address that asks too often is told when to come back", async () => {
    await using running = await startTestServer({ isLoaded: false, config: { server: { requestsPerSecond: 5 } } });
    const statuses = [];
    for (let n = 0; n < 12; n++) statuses.push((await running.ask("/healthz")).status);
    expect(statuses.slice(0, 10)).toEqual(Array(10).fill(200));
    expect(statuses.at(-1)).toBe(429);
  });

  test("a session that nobody uses is closed", async () => {
    await using running = await startTestServer({ config: { server: { sessionIdleTimeoutMs: 200 } } });
    const opened = await running.ask("/api/sessions", { body: {} });
    const { id } = (await opened.json()) as { id: string };
    expect(opened.status).toBe(201);
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect((await running.ask(`/api/sessions/${id}`)).status).toBe(404);
  });
});
