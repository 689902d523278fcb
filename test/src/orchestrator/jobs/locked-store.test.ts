import Libsql from "libsql";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { Kitty } from "../../../../src/index.js";
import { Database } from "../../../../src/orchestrator/jobs/database.js";
import { EventTable } from "../../../../src/orchestrator/jobs/event-table.js";
import { JobStore } from "../../../../src/orchestrator/jobs/job-store.js";
import { temporaryFolder } from "../../../scripts/temporary-folder.js";
import { fixturePath } from "../../fixture-worker.js";
import { spec } from "./open-store.js";

function open(path: string, busyTimeoutMs: number): Database & Disposable {
  const database = new Database(path, { journal: "wal", busyTimeoutMs });
  return Object.assign(database, {
    [Symbol.dispose]: () => {
      database.close();
    },
  });
}

test("a store that another process has locked says so, changes nothing, and goes on once it is free", () => {
  using temporary = temporaryFolder();
  const path = join(temporary.path, "jobs.db");
  using database = open(path, 50);
  const store = new JobStore(database, new EventTable(database, Date.now), Date.now);
  const [before] = store.insert([{ spec: spec() }]);
  using other = open(path, 50);
  const event = { topic: "system", type: "x", id: null, data: {} } as const;
  other.transaction(() => {
    other.run("UPDATE jobs SET name = 'changed'");
    const locked = /another process holds its lock.*nothing was changed/;
    expect(() => store.insert([{ spec: spec() }])).toThrow(locked);
    expect(() => store.events.append(event)).toThrow(expect.objectContaining({ code: "store_busy" }) as Error);
    // Readers read on, and see what was there before.
    expect(store.get(String(before?.id)).name).toBeNull();
    expect(() => open(path, 50)).toThrow(locked);
  });
  store.insert([{ spec: spec() }]);
  const page = store.list({ before: Number.MAX_SAFE_INTEGER, limit: 10 });
  expect(page.map(({ job }) => job.name)).toEqual([null, "changed"]);
  expect(store.events.lastSeq).toBe(2);
});

test("a job that ends while the store is locked is recorded once it is free", { timeout: 60_000 }, async () => {
  using temporary = temporaryFolder();
  const config = { worker: { python: fixturePath("good_worker") }, jobs: { folder: temporary.path } };
  await using kitty = await Kitty.start({ config });
  const job = await kitty.jobs.submit({ kind: "generate", params: { prompts: ["x"], maxNewTokens: 20_000 } });
  await expect.poll(async () => (await job.refresh()).state, { interval: 5 }).toBe("running");
  const other = new Libsql(join(temporary.path, "jobs.db"));
  other.exec("BEGIN IMMEDIATE");
  // Long enough for the generation's end, and for a write that gives up.
  await sleep(5000);
  expect((await job.refresh()).state).toBe("running");
  other.exec("ROLLBACK");
  other.close();
  expect(await job.wait()).toMatchObject({ state: "succeeded", attempt: 1 });
  expect((await kitty.jobs.service.history(job.id)).map(({ data }) => data["state"])).toEqual([
    ...["queued", "starting", "running", "succeeded"],
  ]);
});
