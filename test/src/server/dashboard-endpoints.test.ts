import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { parseYaml } from "../../../src/config/parse-yaml.js";
import { usageSchema } from "../../../src/server/wire/system.js";
import { whyNoRealWorker } from "../real-worker.js";
import { startTestServer, type TestServer } from "./test-server.js";

const reason = whyNoRealWorker();

describe.skipIf(reason !== undefined)("what the dashboard asks for", () => {
  let running: TestServer;
  let dashboard: string;

  beforeAll(async () => {
    dashboard = mkdtempSync(join(tmpdir(), "kitty-page-"));
    mkdirSync(join(dashboard, "assets"));
    writeFileSync(join(dashboard, "index.html"), "<!doctype html><title>page</title>");
    writeFileSync(join(dashboard, "assets", "app-1.js"), "1;".repeat(500));
    running = await startTestServer({ dashboard });
  });
  afterAll(async () => {
    await running[Symbol.asyncDispose]();
    rmSync(dashboard, { recursive: true });
  });

  async function answer(path: string, body?: unknown): Promise<{ status: number; text: string }> {
    const response = await running.ask(path, body === undefined ? {} : { body });
    return { status: response.status, text: await response.text() };
  }

  test("pages come whatever is searched for, never stale; their parts are kept for ever, and nothing else is a file", async () => {
    for (const path of ["/", "/jobs?q=a&sort=name.asc", "/jobs/abc", "/compare?ids=1,2"]) {
      const page = await fetch(running.server.url + path);
      expect([path, page.status, page.headers.get("cache-control")]).toEqual([path, 200, "no-cache"]);
    }
    const part = await fetch(`${running.server.url}/assets/app-1.js`);
    expect(part.headers.get("cache-control")).toMatch(/immutable/);
    expect(part.headers.get("content-encoding")).toBe("gzip");
    expect(await part.text()).toHaveLength(1000);
    for (const path of ["/assets/index.html", "/assets/..%2findex.html", "/assets/nothing.js"]) {
      expect([path, (await fetch(running.server.url + path)).status]).toEqual([path, 404]);
    }
  });

  test("a WebSocket is opened by a token that is a protocol's name, which is never answered with", async () => {
    const open = (protocols: string[], query = ""): Promise<string> =>
      new Promise((resolve) => {
        const url = `${running.server.url.replace("http", "ws")}/api/events?since=0${query}`;
        const socket = new WebSocket(url, protocols);
        socket.once("open", () => {
          resolve(socket.protocol);
          socket.close();
        });
        socket.once("error", (error) => {
          resolve(error.message);
        });
      });
    const named = (token: string): string => `kitty-kv.token.${Buffer.from(token).toString("base64url")}`;
    expect(await open(["kitty-kv.events", named(running.server.token)])).toBe("kitty-kv.events");
    expect(await open(["kitty-kv.events", named("wrong")])).toMatch(/401/);
    expect(await open(["kitty-kv.events"], `&token=${running.server.token}`)).toMatch(/401/);
    const header = { "sec-websocket-protocol": named(running.server.token) };
    expect((await fetch(`${running.server.url}/api/jobs`, { headers: header })).status).toBe(401);
  });

  test("a spec is checked as a submission would be, from YAML too, and nothing is stored", async () => {
    const good = await answer("/api/jobs/check", { yaml: "kind: generate # a comment\nparams: {maxNewTokens: 4}" });
    expect(JSON.parse(good.text)).toMatchObject({ spec: { params: { maxNewTokens: 4, concurrency: 8 } } });
    expect((JSON.parse(good.text) as { yaml: string }).yaml).toBe("kind: generate\nparams:\n  maxNewTokens: 4\n");
    const bad = [
      { yaml: "kind: [" },
      { spec: { kind: "generate", params: { maxNewToken: 4 } } },
      {},
      { spec: { kind: "x" } },
      { spec: { kind: "eval", params: { tasks: "pass-key" } } },
      { yaml: "kind: sweep\nparams: {base: {kind: eval}, matrix: {presets: [fp16, kity]}}" },
    ];
    for (const body of bad) expect((await answer("/api/jobs/check", body)).status).toBe(400);
    const slip = await answer("/api/jobs", { kind: "eval", params: { tasks: "copyng" } });
    expect(slip.status).toBe(400);
    expect(slip.text).toContain('did you mean \\"copying\\"?');
    expect(JSON.parse((await answer("/api/jobs")).text)).toEqual({ jobs: [], next: null });
  });

  test("a job's spec is YAML that says the same, and its events tell its life without its progress", async () => {
    const spec = { kind: "generate", name: "x: [1", params: { prompts: ["- a\n'b"], maxNewTokens: 2 } };
    const { id } = JSON.parse((await answer("/api/jobs", spec)).text) as { id: string };
    await running.kitty.jobs.service.wait(id);
    const { text } = await answer(`/api/jobs/${id}/spec`);
    expect(parseYaml(text, "read")).toMatchObject(spec);
    const { events } = JSON.parse((await answer(`/api/jobs/${id}/events`)).text) as {
      events: { type: string; data: { state?: string } }[];
    };
    expect(events.map(({ data }) => data.state)).toEqual(["queued", "starting", "running", "succeeded"]);
    expect((await answer("/api/jobs/nothing/events")).status).toBe(404);
    const { sizeBytes, nextOffset } = JSON.parse((await answer(`/api/jobs/${id}/logs?limitBytes=10`)).text) as Record<
      string,
      number
    >;
    expect([nextOffset, (sizeBytes ?? 0) > 100]).toEqual([10, true]);
  });

  test("usage is looked at every few seconds: what caches hold, and what was written since", async () => {
    const session = await running.kitty.sessions.open({ cache: { preset: "kitty-pro" } });
    await session.generate("Once upon a time", { maxNewTokens: 300 }).result();
    const { denseBytes, tokens } = await session.memory();
    await expect
      .poll(async () => usageSchema.parse(JSON.parse((await answer("/api/usage")).text)).samples.at(-1)?.denseBytes)
      .toBe(denseBytes);
    const { samples } = usageSchema.parse(JSON.parse((await answer("/api/usage")).text));
    expect(samples.at(-1)).toMatchObject({ tokens, running: 0 });
    expect(samples.some(({ tokensPerSecond }) => tokensPerSecond > 0)).toBe(true);
    expect((await answer(`/api/usage?since=${samples.at(-1)?.time ?? ""}`)).text).toContain('"samples":[]');
    await session.close();
  });

  test("a server that brings no checks of the machine says so", async () => {
    const { status, text } = await answer("/api/doctor");
    expect(status).toBe(400);
    expect(text).toContain("kitty-kv doctor");
  });

  test("a report is asked of jobs by their ids, and what is no such question is refused in words", async () => {
    const { text } = await answer("/api/jobs", { kind: "generate", params: { prompts: ["a"], maxNewTokens: 1 } });
    const { id } = JSON.parse(text) as { id: string };
    const wrong: [unknown, number, RegExp][] = [
      [{ jobs: [] }, 400, /Cannot write a report about jobs: jobs/],
      [{ jobs: Array.from({ length: 201 }, String) }, 400, /jobs/],
      [{ jobs: [1] }, 400, /jobs/],
      [{ jobs: ["../../etc"] }, 404, /Cannot find job/],
      [{ jobs: "all" }, 400, /jobs/],
      [{ job: [id] }, 400, /did you mean/],
      [{ jobs: [id] }, 400, /it is of kind generate/],
    ];
    for (const [body, status, message] of wrong) {
      const found = await answer("/api/reports", body);
      expect([body, found.status]).toEqual([body, status]);
      expect(found.text).toMatch(message);
    }
  });
});
