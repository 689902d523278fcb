import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ConfigError, JobFailedError, Kitty, NotFoundError, UnsupportedError } from "../../../src/index.js";
import type { JobEvent, JobSpecInput, KittyEvent } from "../../../src/index.js";
import { temporaryFolder } from "../../scripts/temporary-folder.js";
import { fixturePath } from "../fixture-worker.js";
import { startTestServer, type TestServer } from "../server/test-server.js";

const folder = temporaryFolder();
let running: TestServer;

beforeAll(async () => {
  running = await startTestServer({ config: { model: null, worker: { python: fixturePath("good_worker") } } });
});
afterAll(async () => {
  expect(running.defects).toEqual([]);
  await running[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

function batch(prompts: string[], maxNewTokens = 3): JobSpecInput {
  return { kind: "generate", params: { prompts, maxNewTokens } };
}

const endless = batch(["x"], 1_000_000);

// The embedded Kitty is the one that the server serves, so both use one store.
const MODES: [string, () => Promise<Kitty>][] = [
  ["embedded", () => Promise.resolve(running.kitty)],
  ["remote", () => Kitty.connect(running.server)],
];

describe.each(MODES)("jobs of an %s Kitty", (mode, open) => {
  let kitty: Kitty;
  beforeAll(async () => {
    kitty = await open();
  });
  afterAll(async () => {
    if (mode === "remote") await kitty.close();
  });

  test("a job is submitted, followed to its end, and leaves its result, its log and its files", async () => {
    const job = await kitty.jobs.submit({ ...batch(["a", "b"]), name: "two" });
    expect(job.job).toMatchObject({ state: "queued", name: "two", spec: { retry: { maxAttempts: 3 } }, result: null });
    const events: JobEvent[] = [];
    for await (const event of job.events()) events.push(event);
    const states = events
      .filter(({ type }) => type === "job.state")
      .map(({ data }) => (data as { state: string }).state);
    expect(states).toEqual(["queued", "starting", "running", "succeeded"]);
    const history = await kitty.jobs.service.history(job.id);
    expect(history).toEqual(events.filter(({ type }) => type === "job.state"));
    const result = await job.result();
    expect(result.figures).toMatchObject({ prompts: 2, succeeded: 2, completionTokens: 6 });
    expect(result.files.map(({ name }) => name)).toEqual(["results.jsonl", "log.txt"]);
    const lines = (await text(await job.openFile("results.jsonl"))).trim().split("\n");
    expect(lines.map((line) => JSON.parse(line) as object)).toMatchObject([
      { text: "w0 w1 w2 " },
      { text: "w0 w1 w2 " },
    ]);
    const { text: log, isEnd, nextOffset } = await job.logs();
    expect(log).toMatch(/attempt 1 begins[^]*succeeded\n$/);
    expect(isEnd).toBe(true);
    expect((await job.logs({ offset: nextOffset })).text).toBe("");
    expect((await job.logs({ offset: 3, limitBytes: 5 })).text).toBe(log.slice(3, 8));
    const again = await kitty.jobs.get(job.id);
    expect(again.job).toEqual(await job.refresh());
    expect(again.job).toMatchObject({ state: "succeeded", attempt: 1, error: null, progress: { done: 2, total: 2 } });
  });

  test("jobs that cannot be reported on are refused alike", async () => {
    const job = await kitty.jobs.submit(batch(["a"]));
    await expect(kitty.jobs.report([job.id])).rejects.toMatchObject({ code: "no_results" });
    await expect(kitty.jobs.report([job.id])).rejects.toBeInstanceOf(ConfigError);
    await expect(kitty.jobs.report(["nothing"])).rejects.toBeInstanceOf(NotFoundError);
    await expect(kitty.jobs.report([])).rejects.toBeInstanceOf(ConfigError);
  });

  test("a key makes submitting idempotent; many are submitted at once or not at all", async () => {
    const idempotencyKey = `run 42/${mode}`;
    const first = await kitty.jobs.submit(batch(["a"]), { idempotencyKey });
    expect((await kitty.jobs.submit(batch(["a"]), { idempotencyKey })).id).toBe(first.id);
    await expect(kitty.jobs.submit(batch(["b"]), { idempotencyKey })).rejects.toMatchObject({
      code: "idempotency_conflict",
    });
    for (const wrong of ["", " x", "ü", "x".repeat(201), "a\nb"]) {
      await expect(kitty.jobs.submit(batch(["a"]), { idempotencyKey: wrong })).rejects.toBeInstanceOf(ConfigError);
    }
    const many = await kitty.jobs.submitMany([batch(["a"]), batch(["b"])]);
    expect(new Set(many.map(({ id }) => id)).size).toBe(2);
    const { jobs } = await kitty.jobs.list({ limit: 2 });
    expect(jobs.map(({ id }) => id)).toEqual(many.map(({ id }) => id).reverse());
    await expect(kitty.jobs.submitMany([batch(["a"]), { kind: "simulat" } as never])).rejects.toBeInstanceOf(
      ConfigError,
    );
    expect((await kitty.jobs.list({ limit: 1 })).jobs[0]?.id).toBe(many[1]?.id);
    for (const job of [first, ...many]) await job.wait();
  });

  test("lists go page by page, newest first, and by state", async () => {
    const made = await kitty.jobs.submitMany(Array.from({ length: 5 }, () => batch(["a"])));
    for (const job of made) await job.wait();
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await kitty.jobs.list({ limit: 2, cursor, state: "succeeded" });
      seen.push(...page.jobs.map(({ id }) => id));
      cursor = page.next ?? undefined;
    } while (cursor !== undefined && seen.length < 6);
    expect(seen.slice(0, 5)).toEqual(made.map(({ id }) => id).reverse());
    await expect(kitty.jobs.list({ cursor: "x" })).rejects.toBeInstanceOf(ConfigError);
  });

  test("cancel ends what runs, retry begins it anew, and the handle says what it became", async () => {
    const job = await kitty.jobs.submit(endless);
    await expect.poll(async () => (await job.refresh()).state).toBe("running");
    await expect(job.retry()).rejects.toMatchObject({ code: "job_state_conflict" });
    await job.cancel();
    expect((await job.wait()).state).toBe("cancelled");
    await expect(job.result()).rejects.toBeInstanceOf(JobFailedError);
    expect((await job.retry()).state).toBe("queued");
    await expect.poll(async () => (await job.refresh()).state).toBe("running");
    await job.cancel();
    expect((await job.wait()).state).toBe("cancelled");
  });

  test("a wait is given up by its signal, and the job goes on", async () => {
    const job = await kitty.jobs.submit(endless);
    const controller = new AbortController();
    const waiting = job.wait({ signal: controller.signal });
    setTimeout(() => {
      controller.abort();
    }, 50);
    await expect(waiting).rejects.toMatchObject({ code: "cancelled" });
    expect((await job.refresh()).state).not.toBe("cancelled");
    await job.cancel();
    await job.wait();
  });

  test("errors have their class and code", async () => {
    const { jobs } = kitty;
    await expect(jobs.get("none")).rejects.toBeInstanceOf(NotFoundError);
    await expect(jobs.get("../../etc/passwd")).rejects.toMatchObject({ code: "job_not_found" });
    await expect(jobs.submit({ kind: "generate", params: { maxNewToken: 3 } } as never)).rejects.toMatchObject({
      code: "invalid_argument",
      details: { suggestion: "maxNewTokens" },
    });
    await expect(jobs.submit({ kind: "simulate", runner: "apptainer" })).rejects.toBeInstanceOf(UnsupportedError);
    await expect(jobs.submit(batch([]))).rejects.toBeInstanceOf(ConfigError);
    const promptsFile = join(folder.path, "none.jsonl");
    await expect(jobs.submit({ kind: "generate", params: { promptsFile } })).rejects.toMatchObject({
      code: "file_not_found",
    });
    writeFileSync(join(folder.path, "wrong.jsonl"), "{}\n");
    const failing = await jobs.submit({
      kind: "generate",
      params: { promptsFile: join(folder.path, "wrong.jsonl") },
    });
    await expect(failing.result()).rejects.toMatchObject({
      details: { state: "failed", error: { code: "prompts_file" } },
    });
    for (const name of ["results.jsonl", "../log.txt", "/etc/passwd", "..%2flog.txt"]) {
      await expect(failing.openFile(name)).rejects.toMatchObject({ code: "job_file_not_found" });
    }
    await expect(failing.logs({ offset: -1 })).rejects.toBeInstanceOf(ConfigError);
  });

  test("events are followed from any number on, those of one thing apart, until the follower leaves", async () => {
    const since = await kitty.jobs.events.latest();
    const [a, b] = await kitty.jobs.submitMany([batch(["a"]), batch(["b"])]);
    await Promise.all([a?.wait(), b?.wait()]);
    const page = await kitty.jobs.events.page(since, 3);
    expect(page.map(({ seq }) => seq)).toEqual([since + 1, since + 2, since + 3]);
    const follow = async (id: string | undefined, count: number): Promise<KittyEvent[]> => {
      const seen: KittyEvent[] = [];
      await new Promise<void>((resolve, reject) => {
        const onEvent = (event: KittyEvent): void => {
          seen.push(event);
          if (seen.length !== count) return;
          stop();
          resolve();
        };
        const stop = kitty.jobs.events.subscribe(since, onEvent, { id, onError: reject });
      });
      return seen;
    };
    const all = await follow(undefined, 8);
    expect(all.map(({ seq }) => seq)).toEqual(Array.from({ length: 8 }, (_, index) => since + 1 + index));
    const mine = await follow(b?.id, 4);
    expect(mine.map(({ id }) => id)).toEqual(Array.from({ length: 4 }, () => b?.id));
  });
});

test("who follows or waits on a Kitty that closes is told", async () => {
  const kitty = await Kitty.connect(running.server);
  const job = await kitty.jobs.submit(endless);
  const waiting = job.wait();
  const following = (async () => {
    for await (const event of job.events()) expect(event.id).toBe(job.id);
  })();
  const outcomes = Promise.allSettled([waiting, following]);
  await expect.poll(async () => (await job.refresh()).state).toBe("running");
  await kitty.close();
  for (const outcome of await outcomes) {
    expect(outcome).toMatchObject({ status: "rejected", reason: { code: "closed" } });
  }
  await expect(kitty.jobs.list()).rejects.toMatchObject({ code: "closed" });
  await (await running.kitty.jobs.get(job.id)).cancel();
});

test("a connected Kitty does not write events", async () => {
  await using kitty = await Kitty.connect(running.server);
  expect(() => kitty.jobs.log).toThrow(UnsupportedError);
});
