import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { join } from "node:path";
import type { KittyEvent } from "../../../src/index.js";
import { stopInstances } from "../../../src/apptainer/stop-instances.js";
import { instanceHome } from "../apptainer/test-overlay.js";
import { whyNoRealWorker } from "../real-worker.js";
import { startTestServer, type TestServer } from "./test-server.js";

const { problem, home, place } = instanceHome();
const reason = problem ?? whyNoRealWorker();
let running: TestServer;

beforeAll(async () => {
  if (reason !== undefined) return;
  running = await startTestServer({ isLoaded: false, config: { apptainer: place } });
}, 60_000);
afterEach(async () => {
  if (reason === undefined) await stopInstances("all");
});
afterAll(async () => {
  if (reason === undefined) await running[Symbol.asyncDispose]();
  home[Symbol.dispose]();
});

interface Answer {
  status: number;
  body: Record<string, unknown>;
}

async function ask(path: string, body?: object, method?: string): Promise<Answer> {
  const response = await running.ask(path, { body, ...(method === undefined ? {} : { method }) });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

async function states(since: number): Promise<{ id: string | null; state: unknown }[]> {
  const events: KittyEvent[] = await running.kitty.jobs.events.page(since);
  return events.filter(({ topic }) => topic === "instance").map(({ id, data }) => ({ id, state: data["state"] }));
}

test(
  "instances start, are shown, tell what happened, and stop, each in the event log",
  { timeout: 120_000 },
  async ({ skip }) => {
    skip(reason !== undefined, reason);
    const since = running.kitty.jobs.log.lastSeq;
    const started = await ask("/api/instances", { count: 1 });
    expect(started).toMatchObject({
      status: 201,
      body: { instances: [{ state: "ready", ...place, network: "none" }] },
    });
    const [{ name } = { name: "" }] = started.body["instances"] as { name: string }[];
    expect(await ask("/api/instances")).toMatchObject({ status: 200, body: { instances: [{ name }] } });
    expect(await ask(`/api/instances/${name}`)).toMatchObject({ status: 200, body: { name, state: "ready" } });
    const log = await ask(`/api/instances/${name}/logs`);
    expect(log.body).toMatchObject({ offset: 0, isEnd: false });
    expect(log.body["text"]).toMatch(/a worker answered/);
    const rest = await ask(`/api/instances/${name}/logs?offset=${String(log.body["nextOffset"])}`);
    expect(rest.body).toMatchObject({ text: "", offset: log.body["nextOffset"] });
    const { body } = await ask("/api/overlays");
    expect(body).toMatchObject({ overlays: [{ path: place.overlay, manifest: { state: "sealed" } }], unreadable: [] });
    expect(JSON.stringify(body)).toContain(`run instance ${name}`);
    // A writer has no place beside it.
    expect((await ask("/api/overlays/seal", { path: place.overlay })).body["error"]).toMatchObject({
      code: "overlay_in_use",
    });
    expect(await ask(`/api/instances/${name}`, undefined, "DELETE")).toMatchObject({ body: { stopped: [name] } });
    expect((await ask(`/api/instances/${name}`)).status).toBe(404);
    const seen = await states(since);
    expect(seen.map(({ id }) => id)).toEqual(seen.map(() => name));
    // On its way out it may be seen half gone.
    const passed = seen.map(({ state }) => state).filter((state) => state !== "starting" && state !== "dead");
    expect(passed).toEqual(["ready", null]);
    expect(running.defects).toEqual([]);
  },
);

test("a sealed overlay is verified and takes no more; a new one is made, and listed with the rest", async ({
  skip,
}) => {
  skip(reason !== undefined, reason);
  expect(await ask("/api/overlays/verify", {})).toMatchObject({
    status: 200,
    body: { path: place.overlay, manifest: { state: "sealed" } },
  });
  expect(await ask("/api/overlays/provision", { path: place.overlay })).toMatchObject({
    status: 409,
    body: { error: { code: "overlay_sealed" } },
  });
  const path = join(String(process.env["KITTY_KV_HOME"]), "overlays", "new.img");
  const since = running.kitty.jobs.log.lastSeq;
  expect(await ask("/api/overlays", { path, sizeMiB: 64 })).toMatchObject({
    status: 201,
    body: { path, manifest: { state: "empty" } },
  });
  expect(await ask("/api/overlays", { path, sizeMiB: 64 })).toMatchObject({
    status: 409,
    body: { error: { code: "overlay_exists" } },
  });
  expect((await ask("/api/overlays/seal", { path })).body["error"]).toMatchObject({ code: "overlay_not_provisioned" });
  expect((await ask(`/api/overlays/status?path=${path}`)).body).toMatchObject({ path, manifest: { state: "empty" } });
  const { overlays } = (await ask("/api/overlays")).body as { overlays: { path: string }[] };
  expect(overlays.map((overlay) => overlay.path).sort()).toEqual([path, place.overlay].sort());
  const events = (await running.kitty.jobs.events.page(since)).filter(({ topic }) => topic === "overlay");
  expect(events.map(({ type }) => type).filter((type) => type !== "overlay.progress")).toEqual([
    ...[
      "overlay.started",
      "overlay.finished",
      "overlay.started",
      "overlay.failed",
      "overlay.started",
      "overlay.failed",
    ],
  ]);
});

test("a client that goes away while instances start takes them along", { timeout: 60_000 }, async ({ skip }) => {
  skip(reason !== undefined, reason);
  const { url, token } = running.server;
  const controller = new AbortController();
  const starting = fetch(`${url}/api/instances`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}` },
    body: "{}",
    signal: controller.signal,
  });
  await expect
    .poll(async () => (await ask("/api/instances")).body["instances"], { interval: 20, timeout: 20_000 })
    .toHaveLength(1);
  controller.abort();
  await expect(starting).rejects.toThrow();
  await expect.poll(async () => (await ask("/api/instances")).body["instances"], { timeout: 20_000 }).toEqual([]);
});
