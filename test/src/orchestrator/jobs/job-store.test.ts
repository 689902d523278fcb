import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { JobState } from "../../../../src/job/job-state.js";
import { isJobEvent, type KittyEvent } from "../../../../src/job/event.js";
import { Database } from "../../../../src/orchestrator/jobs/database.js";
import { HomeLock } from "../../../../src/orchestrator/jobs/home-lock.js";
import { JobQueue } from "../../../../src/orchestrator/jobs/job-queue.js";
import { fileSystemKind } from "../../../../src/util/file-system-kind.js";
import { temporaryFolder } from "../../../scripts/temporary-folder.js";
import { openStore, spec } from "./open-store.js";

const FREE = { hasSlot: true, freeGpus: 0 };
const RESULT = { figures: {}, files: [] };

function folder(): string {
  const temporary = temporaryFolder();
  onTestFinished(() => {
    temporary[Symbol.dispose]();
  });
  return temporary.path;
}

test("a job is there after the store is opened again, with its events", () => {
  const path = folder();
  let id: string | undefined;
  {
    using store = openStore(path);
    id = store.insert([{ spec: spec({ name: "näme 🐱" }) }])[0]?.id;
  }
  using store = openStore(path);
  expect(store.get(id ?? "")).toMatchObject({
    id,
    name: "näme 🐱",
    state: "queued",
    attempt: 0,
    spec: { kind: "simulate" },
  });
  expect(store.events.read(0)).toMatchObject([{ seq: 1, type: "job.state", id, data: { state: "queued" } }]);
});

test("the same key and spec is the same job, another spec a conflict, and no event is written twice", () => {
  using store = openStore(folder());
  const key = { idempotencyKey: "run-42" };
  const [first] = store.insert([{ spec: spec({ params: { length: 8 }, name: "n" }), ...key }]);
  const [again] = store.insert([{ spec: spec({ name: "n", params: { length: 8 } }), ...key }]);
  expect(again).toEqual(first);
  expect(() => store.insert([{ spec: spec(), ...key }])).toThrow(
    /belongs to job j[0-9a-f]{16}, whose spec is another one/,
  );
  expect(store.events.lastSeq).toBe(1);
});

test("of many jobs all are stored or none", () => {
  using store = openStore(folder());
  expect(() => store.insert([{ spec: spec() }, { spec: spec({ dependsOn: ["nobody"] }) }])).toThrow(
    /dependsOn names "nobody"/,
  );
  expect(store.list({ before: 1e9, limit: 9 })).toEqual([]);
  expect(store.events.read(0)).toEqual([]);
});

test("claims go by priority, then by age, wait for dependencies and GPUs, and sweeps need no slot", () => {
  using store = openStore(folder());
  const queue = new JobQueue(store, "me", 1000);
  const names = (): (string | null | undefined)[] => [queue.claim(FREE)?.name];
  const [low] = store.insert([{ spec: spec({ name: "low" }) }, { spec: spec({ name: "high", priority: 5 }) }]);
  store.insert([{ spec: spec({ name: "after low", priority: 9, dependsOn: [low?.id] }) }]);
  store.insert([{ spec: spec({ name: "gpu", priority: 99, resources: { gpus: 2 } }) }]);
  expect([...names(), ...names(), ...names()]).toEqual(["high", "low", undefined]);
  queue.begin({ id: low?.id ?? "", number: 1 });
  expect(queue.succeed({ id: low?.id ?? "", number: 1 }, RESULT)).toBe(true);
  expect(names()).toEqual(["after low"]);
  store.insert([{ spec: spec({ name: "small gpu", resources: { gpus: 1 } }) }]);
  // One free GPU does not let the smaller job pass the one that waits for two.
  expect(queue.claim({ hasSlot: true, freeGpus: 1 })).toBeUndefined();
  expect(queue.claim({ hasSlot: true, freeGpus: 2 })?.name).toBe("gpu");
  store.insert([{ spec: spec({ kind: "sweep", name: "sweep" }) }, { spec: spec({ name: "other" }) }]);
  expect(queue.claim({ hasSlot: false, freeGpus: 0 })?.name).toBe("sweep");
  expect(queue.claim({ hasSlot: false, freeGpus: 0 })).toBeUndefined();
});

test("a job whose dependency fails fails, and those that depend on it; a retry goes in the same order", () => {
  using store = openStore(folder());
  const queue = new JobQueue(store, "me", 1000);
  const [first] = store.insert([{ spec: spec() }]);
  const [second] = store.insert([{ spec: spec({ dependsOn: [first?.id] }) }]);
  const [third] = store.insert([{ spec: spec({ dependsOn: [second?.id] }) }]);
  const state = (job: { id: string } | undefined): JobState => store.get(job?.id ?? "").state;
  store.cancel(first?.id ?? "");
  expect([first, second, third].map(state)).toEqual(["cancelled", "failed", "failed"]);
  expect(store.get(third?.id ?? "").error).toMatchObject({
    code: "dependency_failed",
    details: { dependency: second?.id },
  });
  for (const job of [first, second]) store.retry(job?.id ?? "");
  expect(queue.claim(FREE)?.id).toBe(first?.id);
  expect(queue.claim(FREE)).toBeUndefined();
  expect(() => store.retry(first?.id ?? "")).toThrow(/Cannot retry job .*: it is starting, wait until it has ended/);
});

test("an attempt that lost its job records nothing: exactly one result", () => {
  using store = openStore(folder());
  const [job] = store.insert([{ spec: spec() }]);
  const id = job?.id ?? "";
  const old = new JobQueue(store, "old", 1000);
  expect(old.claim(FREE)?.attempt).toBe(1);
  old.begin({ id, number: 1 });
  // The orchestrator died; the next one takes over.
  const fresh = new JobQueue(store, "fresh", 1000);
  expect(fresh.recover()).toEqual([id]);
  expect(store.get(id)).toMatchObject({ state: "queued", lostAttempts: 1, attempt: 1 });
  expect(old.succeed({ id, number: 1 }, RESULT)).toBe(false);
  expect(fresh.claim(FREE)?.attempt).toBe(2);
  fresh.begin({ id, number: 2 });
  expect(old.end({ id, number: 1 }, "fail", { code: "x", message: "x", details: {} })).toBe(false);
  expect(fresh.succeed({ id, number: 2 }, { figures: { a: 1 }, files: [] })).toBe(true);
  expect(fresh.succeed({ id, number: 2 }, { figures: { a: 2 }, files: [] })).toBe(false);
  expect(store.get(id)).toMatchObject({ state: "succeeded", result: { figures: { a: 1 } } });
  const states = store.events
    .read(0)
    .filter(isJobEvent)
    .map(({ data }) => ("state" in data ? data.state : ""));
  expect(states).toEqual(["queued", "starting", "running", "queued", "starting", "running", "succeeded"]);
});

test("a job under which orchestrators die again and again is given up", () => {
  using store = openStore(folder());
  const [job] = store.insert([{ spec: spec() }]);
  const queue = new JobQueue(store, "me", 1000);
  for (let round = 0; round < 51; round++) {
    expect(queue.claim(FREE)?.attempt).toBe(round + 1);
    queue.recover();
  }
  expect(store.get(job?.id ?? "")).toMatchObject({ state: "failed", error: { code: "lost_too_often" } });
});

test("a clock that jumps, either way, holds no job back and removes none that is recent", () => {
  let now = Date.UTC(2026, 0, 1);
  using store = openStore(folder(), () => now);
  const queue = new JobQueue(store, "me", 1000);
  const [job] = store.insert([{ spec: spec() }]);
  const id = job?.id ?? "";
  queue.claim(FREE);
  const error = { code: "worker_exited", message: "x", details: {} };
  expect(queue.requeue({ id, number: 1 }, 60_000, error)).toBe(true);
  expect(queue.claim(FREE)).toBeUndefined();
  now -= 365 * 86_400_000;
  expect(queue.claim(FREE)?.attempt).toBe(2);
  queue.requeue({ id, number: 2 }, 60_000, error);
  now += 3650 * 86_400_000;
  expect(queue.claim(FREE)?.attempt).toBe(3);
  queue.end({ id, number: 3 }, "fail", error);
  now += 3650 * 86_400_000;
  expect(queue.expired(now - 1000)).toEqual([]);
  const seqs = store.events.read(0).map(({ seq }) => seq);
  expect(seqs).toEqual(seqs.map((_, index) => index + 1));
});

test("retention removes a job that ended long ago, unless it is among the latest or another waits for it", () => {
  let now = Date.UTC(2026, 0, 1);
  using store = openStore(folder(), () => now);
  const queue = new JobQueue(store, "me", 1000);
  const [old, needed, open] = store.insert(Array.from({ length: 1002 }, () => ({ spec: spec() })));
  for (const job of [old, needed]) {
    expect(queue.claim(FREE)?.id).toBe(job?.id);
    queue.begin({ id: job?.id ?? "", number: 1 });
    queue.succeed({ id: job?.id ?? "", number: 1 }, RESULT);
  }
  store.insert([{ spec: spec({ dependsOn: [needed?.id] }) }]);
  expect(queue.expired(now - 1000)).toEqual([]);
  now += 31 * 86_400_000;
  expect(queue.expired(now - 1000)).toEqual([old?.id]);
  queue.remove(old?.id ?? "");
  expect(() => store.get(old?.id ?? "")).toThrow(/there is none with this id/);
  expect(store.get(open?.id ?? "").state).toBe("queued");
  expect(store.events.read(store.events.lastSeq - 1)).toMatchObject([{ type: "job.removed", id: old?.id }]);
});

test("subscribers get what was, then what comes, in order and once; what was removed is a snapshot", async () => {
  using store = openStore(folder());
  store.insert(Array.from({ length: 1200 }, () => ({ spec: spec() })));
  const seen: number[] = [];
  const stop = store.events.subscribe(3, ({ seq }) => seen.push(seq));
  store.insert([{ spec: spec() }]);
  await expect.poll(() => seen.length).toBe(1198);
  expect(seen).toEqual(Array.from({ length: 1198 }, (_, index) => index + 4));
  stop();
  store.insert([{ spec: spec() }]);
  store.events.trim(10);
  const late: KittyEvent[] = [];
  store.events.subscribe(5, (event) => late.push(event));
  await expect.poll(() => late.length).toBe(11);
  expect(late[0]).toMatchObject({ type: "snapshot", seq: 1192, data: { jobs: { queued: 1202 } } });
  expect(late.map(({ seq }) => seq)).toEqual(Array.from({ length: 11 }, (_, index) => index + 1192));
  expect(seen).toHaveLength(1198);
  store.events.trim(0);
  expect(store.events.lastSeq).toBe(1202);
  expect(store.events.read(1202)).toEqual([]);
  store.insert([{ spec: spec() }]);
  expect(store.events.read(1202)).toMatchObject([{ seq: 1203 }]);
});

test.each([
  ["text", () => "this is no database, though it is long enough to be looked at"],
  [
    "noise in place of its first page",
    (bytes: Buffer) => Buffer.concat([bytes.subarray(0, 100), Buffer.alloc(3996, 7), bytes.subarray(4096)]),
  ],
  ["a file cut short", (bytes: Buffer) => bytes.subarray(0, 8192 + 100)],
])("a damaged store is refused, and the error says how to recover: %s", (_, damage) => {
  const path = folder();
  {
    using store = openStore(path);
    store.insert(Array.from({ length: 50 }, () => ({ spec: spec() })));
  }
  const file = join(path, "jobs.db");
  writeFileSync(file, damage(readFileSync(file)));
  expect(() => openStore(path)).toThrow(/the file is damaged; stop everything .* \.recover/);
});

test("a store of another version is refused", () => {
  const path = folder();
  {
    using store = openStore(path);
    store.database.run("PRAGMA user_version = 99");
  }
  expect(() => openStore(path)).toThrow(/it has version 99, this program reads version 1/);
});

test("a network file system is refused unless its users asked for the safe journal", () => {
  const path = join(folder(), "jobs.db");
  const fileSystem = fileSystemKind(0x6969);
  expect(() => new Database(path, { journal: "wal", fileSystem })).toThrow(
    /network file system \(nfs\).*set jobs.folder/,
  );
  const database = new Database(path, { journal: "delete", fileSystem });
  expect(database.get("PRAGMA journal_mode")).toMatchObject({ journal_mode: "delete" });
  expect(database.get("PRAGMA synchronous")).toMatchObject({ synchronous: 2 });
  database.close();
});

test("of two orchestrators on one folder the second is refused until the first is gone", () => {
  const path = folder();
  const first = new HomeLock(path);
  const holder = `an orchestrator \\(process ${String(process.pid)} on .*\\) does so already`;
  expect(() => new HomeLock(path)).toThrow(new RegExp(holder));
  first[Symbol.dispose]();
  new HomeLock(path)[Symbol.dispose]();
});
