import { onTestFinished, expect, test } from "vitest";
import { Kitty, type KittyEvent } from "../../../src/index.js";
import { temporaryFolder } from "../../scripts/temporary-folder.js";
import { fixturePath } from "../fixture-worker.js";

async function start(): Promise<Kitty> {
  const folder = temporaryFolder();
  const kitty = await Kitty.start({
    config: { worker: { python: fixturePath("good_worker") }, jobs: { folder: folder.path } },
  });
  onTestFinished(async () => {
    await kitty.close();
    folder[Symbol.dispose]();
  });
  return kitty;
}

async function until(kitty: Kitty, type: string, since = 0): Promise<KittyEvent[]> {
  await expect.poll(async () => (await kitty.jobs.events.page(since)).map((event) => event.type)).toContain(type);
  return kitty.jobs.events.page(since);
}

test("a session's life is in the log, its generations with what they cost and without their text", async () => {
  const kitty = await start();
  const since = await kitty.jobs.events.latest();
  const session = await kitty.sessions.open();
  await session.generate("hello", { maxNewTokens: 3 }).result();
  await session.close();
  const events = await until(kitty, "session.closed", since);
  const { id } = session;
  const generation = `${id}-1`;
  expect(events).toMatchObject([
    { topic: "session", type: "session.opened", id, data: { model: "fixture", preset: "kitty-pro", forkOf: null } },
    { topic: "session", type: "generation.started", id, data: { generation } },
    {
      ...{ topic: "session", type: "generation.finished", id },
      data: { generation, finishReason: "length", usage: { completionTokens: 3 }, kvCache: { denseBytes: 60 } },
    },
    { topic: "session", type: "session.closed", id },
  ]);
  expect(JSON.stringify(events)).not.toContain("w0 w1");
  expect(events.map(({ seq }) => seq)).toEqual([1, 2, 3, 4].map((step) => since + step));
});

test("a generation that fails and a session that is lost say why, and closing that one says nothing more", async () => {
  const kitty = await start();
  const since = await kitty.jobs.events.latest();
  const session = await kitty.sessions.open();
  await expect(session.generate("do:kill").result()).rejects.toMatchObject({ code: "worker_exited" });
  const events = await until(kitty, "session.lost", since);
  const ends = events.filter(({ type }) => type === "generation.failed" || type === "session.lost");
  expect(ends).toHaveLength(2);
  for (const { id, data } of ends) expect([id, data["error"]]).toMatchObject([session.id, { code: "worker_exited" }]);
  await session.close();
});

test("hundreds of events are few writes, in their order", async () => {
  const kitty = await start();
  const since = await kitty.jobs.events.latest();
  const seen: KittyEvent[] = [];
  kitty.jobs.events.subscribe(since, (event) => seen.push(event));
  const sessions = await Promise.all(Array.from({ length: 100 }, () => kitty.sessions.open()));
  await Promise.all(sessions.map((session) => session.generate("x", { maxNewTokens: 1 }).result()));
  await Promise.all(sessions.map((session) => session.close()));
  await expect.poll(() => seen.filter(({ type }) => type === "session.closed").length).toBe(100);
  expect(seen.map(({ seq }) => seq)).toEqual(Array.from({ length: 400 }, (_, index) => since + index + 1));
  // Those of one write have one time.
  expect(new Set(seen.map(({ time }) => time)).size).toBeLessThan(200);
});

test("a Kitty that uses no jobs keeps no log and opens no store", async () => {
  const kitty = await start();
  const session = await kitty.sessions.open();
  await session.close();
  expect(kitty.jobs.openLog).toBeUndefined();
  // Only now is it there, and begins.
  expect(await kitty.jobs.events.page(0)).toMatchObject([{ type: "orchestrator.started" }]);
});
