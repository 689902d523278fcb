import { onTestFinished, type ExpectStatic } from "vitest";
import type { ConfigInput, JobHandle } from "../../../src/index.js";
import { temporaryFolder } from "../../scripts/temporary-folder.js";
import { fixturePath } from "../fixture-worker.js";

/**
 * A folder that lives as long as the test.
 * @param onFinished of the test's context, where tests run side by side
 */
export function folder(onFinished: typeof onTestFinished = onTestFinished): string {
  const temporary = temporaryFolder();
  onFinished(() => {
    temporary[Symbol.dispose]();
  });
  return temporary.path;
}

/** Jobs on the test's cluster, with a small worker in place of a model. */
export function slurmConfig(path: string, slurm: ConfigInput["slurm"] = {}, program = "good_worker"): ConfigInput {
  return {
    runner: "slurm",
    worker: { python: fixturePath(program) },
    jobs: { folder: path },
    slurm: { container: "none", pollMinMs: 500, pollMaxMs: 2000, ...slurm },
  };
}

/** A batch of prompts, one after another. */
export function generate(prompts: string[], maxNewTokens = 3) {
  return { kind: "generate" as const, params: { prompts, maxNewTokens, concurrency: 1 } };
}

/** One that takes half a second a prompt and little of the machine. */
export function slow(prompts: number) {
  return generate(Array.from({ length: prompts }, () => "do:wait"));
}

/** @param expect of the test's context, where tests run side by side */
export async function runningAfter(expect: ExpectStatic, job: JobHandle, prompts: number): Promise<void> {
  const done = async (): Promise<number> => (await job.refresh()).progress?.done ?? 0;
  await expect.poll(done, { timeout: 120_000, interval: 200 }).toBeGreaterThanOrEqual(prompts);
}

/** Of a job in Slurm. */
export async function jobNumber(job: JobHandle): Promise<string> {
  const { text } = await job.logs();
  const [, id] = /it is Slurm job (\d+)/.exec(text) ?? [];
  if (id === undefined) throw new Error(`no Slurm job in the log: ${text}`);
  return id;
}
