import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test, vi } from "vitest";
import { Kitty, type ConfigInput, type JobHandle } from "../../../src/index.js";
import { whyNoRealWorker } from "../real-worker.js";
import { folder } from "./slurm-config.js";
import { testCluster } from "./test-cluster.js";

// Texts of the bundled model, which Slurm interrupts in the middle.
const cluster = testCluster({ nodes: 2 });
const problem = cluster.problem ?? whyNoRealWorker();
const POLL = { timeout: 240_000, interval: 200 };
const PROMPT = "The old captain looked at the sea and";

function configOf(path: string, slurm: ConfigInput["slurm"]): ConfigInput {
  return {
    runner: "slurm",
    jobs: { folder: path },
    slurm: { container: "none", pollMinMs: 500, pollMaxMs: 2000, ...slurm },
  };
}

async function logOf(job: JobHandle): Promise<string> {
  return (await job.logs()).text;
}

/** The texts that a job has so far, by the number of their prompt. */
function textsOf(path: string, { id }: JobHandle): Map<number, string> {
  const [, ...lines] = readFileSync(join(path, "jobs", id, "results.partial.jsonl"), "utf8")
    .trimEnd()
    .split("\n");
  const results = lines.map((line) => JSON.parse(line) as { index: number; text: string });
  return new Map(results.map(({ index, text }) => [index, text]));
}

/** The same text, written at once on this machine. */
async function wholeText(maxNewTokens: number): Promise<string> {
  await using kitty = await Kitty.start();
  await using session = await kitty.sessions.open();
  return (await session.generate(PROMPT, { maxNewTokens }).result()).text;
}

test.concurrent(
  "texts that the time limit cuts go on from their saved caches, and are those that are written at once",
  async ({ expect, skip, onTestFinished }) => {
    skip(problem !== undefined, problem);
    vi.stubEnv("OMP_NUM_THREADS", "1");
    const [path, tokens] = [folder(onTestFinished), 800];
    // A limit of a minute, of which Slurm tells at most half a minute before it is over; more texts than a minute is enough for.
    await using kitty = await Kitty.start({ config: configOf(path, { directives: ["--nodelist=n1"] }) });
    const prompts = Array.from({ length: 200 }, () => PROMPT);
    const job = await kitty.jobs.submit({
      kind: "generate",
      params: { prompts, maxNewTokens: tokens, concurrency: 1 },
      resources: { timeLimitMinutes: 1 },
      retry: { maxAttempts: 30 },
    });
    const cut = async () => Number(/prompt (\d+) goes on after [1-9]\d* tokens/.exec(await logOf(job))?.[1] ?? -1);
    await expect.poll(cut, POLL).toBeGreaterThanOrEqual(0);
    const index = await cut();
    await expect.poll(() => textsOf(path, job).has(index), POLL).toBe(true);
    expect(await logOf(job)).toMatch(/its time is nearly over[^]*waits: [^]*start [2-9]/);
    await job.cancel();
    const expected = await wholeText(tokens);
    for (const text of textsOf(path, job).values()) expect(text).toBe(expected);
    await expect.poll(() => cluster.run("squeue", "-h", "-w", "n1"), POLL).toBe("");
  },
  600_000,
);

test.concurrent(
  "a preempted text goes on from its saved cache where the site gives it time, else anew, and is the same both times",
  async ({ expect, skip, onTestFinished }) => {
    skip(problem !== undefined, problem);
    vi.stubEnv("OMP_NUM_THREADS", "1");
    const tokens = 400;
    const expected = wholeText(tokens);
    for (const partition of ["polite", "debug"]) {
      const path = folder(onTestFinished);
      const config = configOf(path, { partition, directives: ["--nodelist=n2"] });
      await using kitty = await Kitty.start({ config });
      const params = { prompts: [PROMPT, PROMPT, PROMPT], maxNewTokens: tokens, concurrency: 1 };
      const job = await kitty.jobs.submit({ kind: "generate", params });
      // In the second text.
      await expect.poll(async () => (await job.refresh()).progress?.done ?? 0, POLL).toBeGreaterThan(0);
      cluster.run(
        "sbatch",
        ...["--partition=urgent", "--nodelist=n2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1"],
      );
      expect(await job.wait()).toMatchObject({ state: "succeeded", attempt: 1 });
      const log = await logOf(job);
      expect(log).toMatch(/waits: [^]*start 2\n[^]*3 prompts, [12] of them done before/);
      if (partition === "polite")
        expect(log).toMatch(/prompt [12] goes on after [1-9]\d* tokens, from its saved cache/);
      const lines = readFileSync(join(path, "jobs", job.id, "results.jsonl"), "utf8")
        .trimEnd()
        .split("\n");
      const texts = lines.map((line) => (JSON.parse(line) as { text: string }).text);
      expect(texts).toEqual([await expected, await expected, await expected]);
    }
  },
  600_000,
);
