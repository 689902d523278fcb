import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Job } from "../../../src/index.js";
import { countStart } from "../../../src/orchestrator/jobs/slurm-starts.js";
import { folder } from "./slurm-config.js";

function taskOf(batch: string) {
  const job = { id: "j1", spec: { retry: { maxAttempts: 2 } } } as unknown as Job;
  return { batch, index: 0, folder: "/", job };
}

test("a task that Slurm takes away again and again ends when it had its attempts, another submission's do not count", () => {
  const path = folder();
  mkdirSync(join(path, "slurm"));
  for (let start = 0; start < 5; start++) countStart(path, taskOf("earlier"));
  expect(countStart(path, taskOf("now"))).toMatchObject({ number: 1 });
  expect(countStart(path, taskOf("now")).refusal).toBeUndefined();
  expect(countStart(path, taskOf("now")).refusal).toMatchObject({ kind: "failed", error: { code: "lost_too_often" } });
});

test("where its time was over each time it has timed out, with what to do", () => {
  const path = folder();
  mkdirSync(join(path, "slurm"));
  for (let start = 0; start < 2; start++) countStart(path, taskOf("now")).interrupt();
  expect(countStart(path, taskOf("now")).refusal).toMatchObject({
    kind: "timed_out",
    error: { code: "time_limit", message: expect.stringMatching(/maxAttempts higher/) as string },
  });
});
