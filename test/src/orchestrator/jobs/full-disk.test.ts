import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { expect, onTestFinished, test } from "vitest";
import { Kitty, LocalJobService, resolveConfig } from "../../../../src/index.js";
import { temporaryFolder } from "../../../scripts/temporary-folder.js";
import { fixturePath } from "../../fixture-worker.js";

const PROMPTS = 20;

test("a disk that is full of results fails attempts, keeps what was computed, and the job goes on when there is space", async ({
  skip,
}) => {
  const { folder, disk } = fullDisk(skip);
  const config = { worker: { python: fixturePath("good_worker") }, jobs: { folder } };
  await using kitty = await Kitty.start({ config });
  const job = await kitty.jobs.submit({
    kind: "generate",
    params: { prompts: Array.from({ length: PROMPTS }, () => "x"), maxNewTokens: 1500, concurrency: 2 },
    retry: { maxAttempts: 100, backoffMs: 100 },
  });
  await expect
    .poll(async () => (await job.refresh()).error, { timeout: 20_000 })
    .toMatchObject({
      code: "disk_full",
      message: expect.stringMatching(/the disk is full.*free some space/) as string,
    });
  expect(job.job.state).not.toBe("failed");
  expect(spawnSync("mount", ["-o", "remount,size=16m", disk]).status).toBe(0);
  const { figures } = await job.result();
  expect(figures).toMatchObject({ prompts: PROMPTS, succeeded: PROMPTS, completionTokens: PROMPTS * 1500 });
  const lines = (await text(await job.openFile("results.jsonl"))).trim().split("\n");
  expect(lines.map((line) => (JSON.parse(line) as { index: number }).index)).toEqual(
    Array.from({ length: PROMPTS }, (_, index) => index),
  );
  // The last attempt did not begin from nothing.
  const log = await text(await job.openFile("log.txt"));
  const done = Number(/(\d+) of them done before[^]*?succeeded\n$/.exec(log.slice(log.lastIndexOf("attempt")))?.[1]);
  expect(done).toBeGreaterThan(0);
});

test(
  "a process that says more than the disk takes ends its attempt, and nothing else",
  { timeout: 60_000 },
  async ({ skip }) => {
    const { folder } = fullDisk(skip);
    const python = join(folder, "chatty-python");
    writeFileSync(python, '#!/bin/sh\nyes "much that is said" | head -20000 >&2\nsleep 60\n', { mode: 0o755 });
    await using kitty = await Kitty.start({ config: { worker: { python: fixturePath("good_worker") } } });
    const config = resolveConfig({ worker: { python }, jobs: { folder } });
    const service = new LocalJobService({ config, sessions: kitty.sessions });
    onTestFinished(() => service.close());
    const { id } = await service.submit({ kind: "simulate", retry: { maxAttempts: 2, backoffMs: 50 } });
    expect(await service.wait(id)).toMatchObject({ state: "failed", attempt: 2, error: { code: "disk_full" } });
  },
);

/** A folder whose jobs have a small disk of their own, so that the store can say what happened. */
function fullDisk(skip: (condition: boolean, note: string) => void): { folder: string; disk: string } {
  const temporary = temporaryFolder();
  onTestFinished(() => {
    temporary[Symbol.dispose]();
  });
  const disk = join(temporary.path, "jobs");
  mkdirSync(disk);
  const { status } = spawnSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]);
  skip(status !== 0, "a small disk can be mounted by root only, with CAP_SYS_ADMIN");
  onTestFinished(() => {
    spawnSync("umount", ["-l", disk]);
  });
  return { folder: temporary.path, disk };
}
