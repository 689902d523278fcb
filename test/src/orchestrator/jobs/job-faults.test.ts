import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { LocalJobService, resolveConfig } from "../../../../src/index.js";
import { isJobEvent } from "../../../../src/job/event.js";
import { nextState, type JobAction, type JobState } from "../../../../src/job/job-state.js";
import { temporaryFolder } from "../../../scripts/temporary-folder.js";
import { fixturePath } from "../../fixture-worker.js";

// The whole of what reliability.md counts: KITTY_KV_FAULT_ROUNDS=20 KITTY_KV_FAULT_JOBS=200.
const ROUNDS = Number(process.env["KITTY_KV_FAULT_ROUNDS"] ?? 3);
const JOBS = Number(process.env["KITTY_KV_FAULT_JOBS"] ?? 24);
const PROMPTS = 4;
const RUNNER = fileURLToPath(new URL("../../../fixtures/job-runner.ts", import.meta.url));

function folder(): string {
  const temporary = temporaryFolder();
  onTestFinished(() => {
    temporary[Symbol.dispose]();
  });
  return temporary.path;
}

function open(path: string): LocalJobService {
  const service = new LocalJobService({ config: resolveConfig({ jobs: { folder: path } }) });
  onTestFinished(() => service.close());
  return service;
}

async function startRunner(path: string): Promise<ChildProcess> {
  const child = spawn(process.execPath, ["--import", "tsx", RUNNER, path, fixturePath("good_worker")], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => {
    child.kill("SIGKILL");
  });
  await once(child.stdout, "data");
  return child;
}

async function kill(child: ChildProcess): Promise<void> {
  child.kill("SIGKILL");
  await once(child, "exit");
}

const batch = (index: number) => ({
  kind: "generate" as const,
  name: `batch ${String(index)}`,
  params: { prompts: Array.from({ length: PROMPTS }, () => "x"), maxNewTokens: 200, concurrency: 2 },
});

/** Every recorded change is one that the state machine allows, and the job succeeded once. */
function checkHistory(states: readonly JobState[]): void {
  const actions: JobAction[] = ["claim", "begin", "succeed", "requeue"];
  states.slice(1).forEach((state, index) => {
    const previous = states[index] ?? "queued";
    expect(actions.map((action) => nextState(previous, action))).toContain(state);
  });
  expect(states[0]).toBe("queued");
  expect(states.filter((state) => state === "succeeded")).toHaveLength(1);
}

test(
  `kill -9 of the orchestrator in ${String(ROUNDS)} rounds over ${String(JOBS)} jobs loses none and records none twice`,
  { timeout: 60_000 + ROUNDS * 60_000 },
  async () => {
    const path = folder();
    const service = open(path);
    const ids = (await service.submitMany(Array.from({ length: JOBS }, (_, index) => batch(index)))).map(
      ({ id }) => id,
    );
    for (let round = 0; round < ROUNDS; round++) {
      const child = await startRunner(path);
      await sleep(Math.random() * 1500);
      await kill(child);
    }
    const last = await startRunner(path);
    const jobs = await Promise.all(ids.map((id) => service.wait(id)));
    await kill(last);
    const lost = jobs.reduce((sum, { lostAttempts }) => sum + lostAttempts, 0);
    // In so many rounds some attempt was under way; in few, chance may have it otherwise.
    if (ROUNDS >= 20) expect(lost).toBeGreaterThan(0);
    const events = service.events.read(0, 1_000_000);
    expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
    for (const { id, state, result } of jobs) {
      expect(state).toBe("succeeded");
      const states = events.filter((event) => event.id === id && isJobEvent(event) && event.type === "job.state");
      checkHistory(states.map(({ data }) => data["state"] as JobState));
      for (const { name, sha256 } of result?.files ?? []) {
        const bytes = readFileSync(join(path, "jobs", id, name));
        expect(createHash("sha256").update(bytes).digest("hex")).toBe(sha256);
      }
      const lines = readFileSync(join(path, "jobs", id, "results.jsonl"), "utf8")
        .trim()
        .split("\n");
      const results = lines.map((line) => JSON.parse(line) as { index: number; completionTokens: number });
      expect(results.map(({ index }) => index)).toEqual(Array.from({ length: PROMPTS }, (_, index) => index));
      expect(results.every(({ completionTokens }) => completionTokens === 200)).toBe(true);
    }
  },
);

test(
  "a second orchestrator is refused, and takes over the moment the first is killed",
  { timeout: 60_000 },
  async () => {
    const path = folder();
    const first = await startRunner(path);
    const second = spawnSync(process.execPath, ["--import", "tsx", RUNNER, path, fixturePath("good_worker")], {
      encoding: "utf8",
      timeout: 30_000,
    });
    expect(second.status).not.toBe(0);
    expect(second.stderr).toMatch(new RegExp(`an orchestrator \\(process ${String(first.pid)} on .*does so already`));
    await kill(first);
    await startRunner(path);
  },
);

function mountSmallDisk(path: string): boolean {
  const { status } = spawnSync("mount", ["-t", "tmpfs", "-o", "size=768k", "tmpfs", path]);
  if (status !== 0) return false;
  onTestFinished(() => {
    spawnSync("umount", ["-l", path]);
  });
  return true;
}

test("a full disk refuses submissions, loses none that was accepted, and goes on when there is space", async ({
  skip,
}) => {
  const path = join(folder(), "disk");
  mkdirSync(path);
  skip(!mountSmallDisk(path), "a small disk can be mounted by root only, with CAP_SYS_ADMIN");
  const service = open(path);
  const accepted: string[] = [];
  const name = "n".repeat(200);
  const refused = await (async () => {
    for (;;) {
      const specs = Array.from({ length: 20 }, (_, index) => ({ ...batch(index), name }));
      accepted.push(...(await service.submitMany(specs)).map(({ id }) => id));
    }
  })().catch((error: unknown) => error);
  expect(refused).toMatchObject({ code: "disk_full" });
  expect((refused as Error).message).toMatch(/the disk is full.*free some space, nothing was changed/);
  expect(accepted.length).toBeGreaterThan(0);
  expect(spawnSync("mount", ["-o", "remount,size=64m", path]).status).toBe(0);
  const [extra] = await service.submitMany([batch(0)]);
  const listed = [];
  for (let cursor: string | undefined; ;) {
    const page = await service.list({ limit: 500, cursor });
    listed.push(...page.jobs.map(({ id }) => id));
    if (page.next === null) break;
    cursor = page.next;
  }
  expect(listed.reverse()).toEqual([...accepted, extra?.id]);
});
