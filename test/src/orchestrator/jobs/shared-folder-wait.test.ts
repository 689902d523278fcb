import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { KittyError } from "../../../../src/errors.js";
import { FOLDER_EXIT_CODE, whileFolderMayReturn } from "../../../../src/orchestrator/jobs/shared-folder-wait.js";
import { FollowedTask } from "../../../../src/runner/followed-task.js";
import { goneError, isLost } from "../../../../src/runner/slurm-ends.js";
import { writeWhole } from "../../../../src/runner/slurm-files.js";
import { parseQueue } from "../../../../src/slurm/squeue.js";
import { SEPARATOR } from "../../../../src/slurm/records.js";
import type { Job } from "../../../../src/index.js";
import { temporaryFolder } from "../../../scripts/temporary-folder.js";

/** A job's folder that is away: a file lies in its place. */
function awayFolder(): { folder: string; comeBack: () => void } {
  const temporary = temporaryFolder();
  onTestFinished(() => {
    temporary[Symbol.dispose]();
  });
  const folder = join(temporary.path, "job");
  writeFileSync(folder, "");
  return {
    folder,
    comeBack: () => {
      rmSync(folder);
      mkdirSync(folder);
    },
  };
}

async function waitFor(folder: string, patienceMs: number, log: string[] = [], signal = new AbortController().signal) {
  let calls = 0;
  const options = { folder, patienceMs, signal, log: (line: string) => log.push(line) };
  const exitCode = await whileFolderMayReturn(options, () => {
    calls += 1;
    writeWhole(join(folder, "result"), "done");
    return Promise.resolve(0);
  });
  return { exitCode, calls };
}

test("work that cannot write to its folder is done again when the folder is back", async () => {
  const { folder, comeBack } = awayFolder();
  const log: string[] = [];
  setTimeout(comeBack, 500);
  expect(await waitFor(folder, 20_000, log)).toEqual({ exitCode: 0, calls: 2 });
  expect(log).toEqual([
    expect.stringMatching(/^Cannot write .*; waiting until it can be written again$/),
    "the shared folder can be written again; going on with what there is",
  ]);
});

test("a folder that stays away ends the wait with an exit code of its own, and so does the end of the node's time", async () => {
  const { folder } = awayFolder();
  expect(await waitFor(folder, 300)).toEqual({ exitCode: FOLDER_EXIT_CODE, calls: 1 });
  const started = performance.now();
  expect(await waitFor(folder, 60_000, [], AbortSignal.timeout(200))).toMatchObject({ exitCode: FOLDER_EXIT_CODE });
  expect(performance.now() - started).toBeLessThan(10_000);
});

test("a folder that takes small files and never the results is not waited for without end, other errors not at all", async () => {
  const temporary = temporaryFolder();
  onTestFinished(() => {
    temporary[Symbol.dispose]();
  });
  const fail = (code: string) => () => Promise.reject(new KittyError("Cannot write", { code }));
  const log: string[] = [];
  const options = {
    folder: temporary.path,
    patienceMs: 100,
    signal: new AbortController().signal,
    log: (line: string) => log.push(line),
  };
  await expect(whileFolderMayReturn(options, fail("disk_full"))).rejects.toMatchObject({ code: "disk_full" });
  expect(log.filter((line) => line.includes("waiting"))).toHaveLength(3);
  log.length = 0;
  await expect(whileFolderMayReturn(options, fail("worker_exited"))).rejects.toMatchObject({ code: "worker_exited" });
  expect(log).toEqual([]);
});

test.each([
  ["18944", "it could not write to the shared folder"],
  ["53", "could not write the output file"],
])(
  "a task that ended with the raw status %s had no folder, is submitted again, and fails with what to do",
  async (exit, words) => {
    const { folder, comeBack } = awayFolder();
    comeBack();
    const place = { batch: "b", batchFolder: folder, index: 0, tasks: 1, jobId: "7", id: "7", submittedMs: 0 };
    const task = new FollowedTask(place, folder, { onBegin: () => 0, onProgress: () => 0, onLog: () => 0 });
    const fields = ["7", "7", "N/A", "FAILED", "None", exit, "N/A", "N/A", "n1", "b", "b"];
    const [job] = parseQueue(`${[...fields, ""].slice(0, fields.length).join(SEPARATOR)}${SEPARATOR}\n`);
    if (job === undefined) throw new RangeError("squeue's line has one job");
    task.update(job);
    await expect
      .poll(() => {
        task.readFiles();
        return task.hasEnded;
      })
      .toBe(true);
    const end = await task.ended;
    expect(end).toMatchObject({ kind: "gone", how: "shared_folder", found: expect.stringContaining(words) as string });
    if (end.kind !== "gone") throw new RangeError("it is gone");
    expect(isLost(end.how)).toBe(true);
    const error = goneError({ id: "j1", spec: { resources: {} } } as unknown as Job, end, 3);
    expect(error).toMatchObject({
      code: "shared_folder",
      message: expect.stringMatching(/3 times.*slurm\.folder/) as string,
    });
  },
);
