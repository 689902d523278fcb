import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { CancelledError, ConfigError, LocalJobService, NotFoundError, resolveConfig } from "../../../../src/index.js";
import type { JobReport } from "../../../../src/index.js";
import { temporaryFolder } from "../../../scripts/temporary-folder.js";
import { whyNoRealWorker } from "../../real-worker.js";
import { evaluationFiles, latencyFiles, seedResults, simulationFiles, type SeededJob } from "../../seed-results.js";

const reason = whyNoRealWorker();
const EVAL = { kind: "eval" };
const SWEEP = {
  kind: "sweep",
  name: "Matrix",
  params: { base: EVAL, matrix: { presets: ["fp16", "kivi-2", "kitty"] } },
};

function open(jobs: readonly SeededJob[]): { service: LocalJobService; ids: string[]; home: string } {
  const temporary = temporaryFolder();
  const ids = seedResults(temporary.path, jobs);
  const service = new LocalJobService({ config: resolveConfig({ jobs: { folder: temporary.path } }) });
  onTestFinished(async () => {
    await service.close();
    temporary[Symbol.dispose]();
  });
  return { service, ids, home: temporary.path };
}

test.skipIf(reason !== undefined)(
  "a report has evaluations paired, latencies, simulations, and the same as files",
  async () => {
    const { service, ids } = open([
      { spec: EVAL, files: evaluationFiles({ presets: { fp16: "rrrrrrrr" } }) },
      { spec: EVAL, files: evaluationFiles({ presets: { "kivi-2": "rwwwwwww", kitty: "rrrrrrrw" } }) },
      { spec: { kind: "latency", name: "Speed" }, files: latencyFiles({ "engine kitty": 5, "hf-dynamic": 10 }) },
      { spec: { kind: "simulate" }, files: simulationFiles("kitty", 0.02) },
    ]);
    const { jobs, leftOut, document, files } = await service.report(ids);
    expect(jobs.map(({ id, isPartial }) => [id, isPartial])).toEqual(ids.map((id) => [id, false]));
    expect(leftOut).toEqual([]);
    const [comparison] = document.evaluations;
    expect(comparison?.presets.map(({ preset, correct, answers }) => [preset, correct, answers])).toEqual([
      ["fp16", 8, 8],
      ["kitty", 7, 8],
      ["kivi-2", 1, 8],
    ]);
    // Of seven answers lost and none won: two tails of 1/128, and of two tests Holm takes the smaller p twice.
    expect(comparison?.presets[2]?.againstFp16).toMatchObject({ lost: 7, won: 0, mcnemarP: 1 / 64, holmP: 1 / 32 });
    expect(comparison?.unbeaten).toEqual(["kivi-2", "kitty", "fp16"]);
    expect(comparison?.commands).toHaveLength(2);
    expect(document.latencies[0]?.rows).toHaveLength(3);
    expect(document.simulations[0]?.command).toMatch(/^kitty-kv simulate --preset=kitty/);
    expect(document.published.source).toMatch(/^References only/);
    expect(files.html).toMatch(/^<!doctype html>[^]*<svg[^]*<\/html>\n$/);
    expect(files.markdown).toContain("| kivi-2 | 2.50 | 1 of 8 |");
    expect(files.csv).toMatch(/^model,dtype[^]*kivi-2/);
  },
);

test.skipIf(reason !== undefined)(
  "of a sweep that runs it has what is answered so far, and says who is left out and why",
  async () => {
    const { service, ids, home } = open([
      { spec: SWEEP, state: "running" },
      { spec: EVAL, parent: 0, files: evaluationFiles({ presets: { fp16: "rrrr" } }) },
      { spec: EVAL, parent: 0, state: "running", files: evaluationFiles({ presets: { "kivi-2": "ww" } }) },
      {
        spec: EVAL,
        parent: 0,
        state: "running",
        files: { "items/run.json": {}, "items/items.jsonl": '{"preset": "ki' },
      },
    ]);
    const [sweep = "", , half = "", silent = ""] = ids;
    const first = await service.report([sweep]);
    expect(first.jobs.map(({ id, isPartial }) => [id, isPartial])).toEqual([
      [ids[1], false],
      [half, true],
    ]);
    expect(first.leftOut).toMatchObject([
      { id: silent, state: "running", reason: "it is running and has answered nothing yet" },
    ]);
    expect(answers(first)).toEqual({ fp16: 4, "kivi-2": 2 });
    // Asked for again it is the same one; once an item is added it is another.
    expect((await service.report([sweep])).document).toBe(first.document);
    const more = evaluationFiles({ presets: { "kivi-2": "www" } })["items/items.jsonl"];
    writeFileSync(join(home, "jobs", half, "items/items.jsonl"), more);
    expect(answers(await service.report([sweep]))).toEqual({ fp16: 4, "kivi-2": 3 });
    // A sweep and its children by name are no more than the sweep.
    expect(answers(await service.report([...ids.slice(1, 3), sweep]))).toEqual({ fp16: 4, "kivi-2": 3 });
  },
);

function answers({ document }: JobReport): Record<string, number | undefined> {
  return Object.fromEntries(document.evaluations[0]?.presets.map((row) => [row.preset, row.answers]) ?? []);
}

test.skipIf(reason !== undefined)(
  "jobs without results, of other kinds, and results that nobody can read are refused in one sentence",
  async () => {
    const { service, ids, home } = open([
      { spec: { kind: "generate", name: 'of "words"' } },
      { spec: { ...SWEEP, params: { base: { kind: "generate" }, matrix: { maxNewTokens: [4] } } } },
      { spec: EVAL, state: "queued" },
      { spec: { kind: "latency" }, state: "running", files: latencyFiles({ a: 1 }) },
      { spec: EVAL, state: "failed" },
      { spec: { kind: "simulate" } },
      { spec: SWEEP, state: "running" },
      { spec: EVAL, files: { "items/run.json": { version: 1 }, "items/items.jsonl": "{}\n" } },
      { spec: { kind: "latency" }, files: { "figures.json": "[" } },
      { spec: { kind: "latency" }, files: { "figures.json": { environment: {}, rows: ["no row"] } } },
      { spec: { kind: "simulate" }, files: simulationFiles("kitty", 0.1) },
    ]);
    const wanted: [string, string][] = [
      [
        "it is of kind generate, which measures nothing that a report shows; name jobs of kind eval, latency, simulate",
        "no_results",
      ],
      ["it is a sweep of generate jobs", "no_results"],
      ["it is queued and has answered nothing yet; wait for it, or leave it out", "no_results"],
      ["it is running, and has figures at its end; wait for it", "no_results"],
      ["it failed and answered nothing; see its log, then retry it, or leave it out", "no_results"],
      ["its results are no longer in its folder; submit it again, or leave it out", "no_results"],
      ["none of its 0 children has results yet; wait for it", "no_results"],
      ["its results are of version 1, this is 2", "other_results"],
      ["it is not readable as JSON", "no_results"],
      ["the results are not what this version writes (document.latencies.0.rows.0", "other_results"],
    ];
    for (const [index, [message, code]] of wanted.entries()) {
      const found = await service.report([ids[index] ?? ""]).catch((error: unknown) => error);
      expect(found).toBeInstanceOf(ConfigError);
      expect(found).toMatchObject({ code, message: expect.stringContaining(message) as string });
      expect((found as Error).message).toMatch(/^Cannot [^\n]+$/);
    }
    await expect(service.report(["nothing"])).rejects.toBeInstanceOf(NotFoundError);
    await expect(service.report([])).rejects.toThrow("name at least one job");
    // What is too large is refused by its size, before anybody reads it.
    const [large = ""] = ids.slice(10);
    writeFileSync(join(home, "jobs", large, "figures.json"), Buffer.alloc(17 * 2 ** 20));
    await expect(service.report([large])).rejects.toMatchObject({
      code: "report_too_large",
      message: expect.stringMatching(/1 job with 17\.0 MiB of results .* "kitty-kv report"/) as string,
    });
  },
);

test.skipIf(reason !== undefined)("who gives up waits no longer, and nothing is left behind", async () => {
  const { service, ids } = open([{ spec: EVAL, files: evaluationFiles({ presets: { fp16: "r" } }) }]);
  using scratch = temporaryFolder();
  vi.stubEnv("TMPDIR", scratch.path);
  onTestFinished(() => {
    vi.unstubAllEnvs();
  });
  const controller = new AbortController();
  const given = [0, 1].map(() => expect(service.report(ids, { signal: controller.signal })).rejects);
  controller.abort();
  await Promise.all(given.map((outcome) => outcome.toBeInstanceOf(CancelledError)));
  // The next one is not in their way.
  expect(answers(await service.report(ids))).toEqual({ fp16: 1 });
  expect(readdirSync(scratch.path)).toEqual([]);
});
