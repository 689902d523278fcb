import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { expect, test } from "vitest";
import { temporaryFolder } from "../scripts/temporary-folder.js";
import { whyNoRealWorker } from "../src/real-worker.js";

const CLI = join(import.meta.dirname, "../../dist/cli/main.js");
const SPEC = `
kind: sweep
params:
  base: { kind: eval, params: { tasks: passkey, limit: 1 } }
  matrix: { presets: [fp16, kivi-2], seed: [3] }
`;

test("a sweep of evaluations gives one report that pairs presets of different jobs", async ({ skip }) => {
  const problem = whyNoRealWorker();
  skip(problem !== undefined, problem);
  using home = temporaryFolder();
  const env = { KITTY_KV_HOME: home.path, OMP_NUM_THREADS: "1" };
  const kitty = async (args: string[], input = "") =>
    (await execa(process.execPath, [CLI, ...args, "--json"], { input, env })).stdout.trim().split("\n").at(-1) ?? "";
  const sweep = JSON.parse(await kitty(["job", "submit", "-", "--wait"], SPEC)) as {
    id: string;
    state: string;
    result: { files: { name: string }[] };
  };
  expect(sweep.state).toBe("succeeded");
  expect(sweep.result.files.map(({ name }) => name)).toContain("report.html");
  const own = await readFile(join(home.path, "jobs", sweep.id, "report.json"), "utf8");
  expect(own).toContain('"againstFp16"');
  const out = join(home.path, "report.html");
  for (const results of [[sweep.id], []]) {
    const report = JSON.parse(await kitty(["report", ...results, "--out", out])) as {
      evaluations: { seeds: number[]; presets: { preset: string; againstFp16?: { items: number } }[] }[];
    };
    expect(report.evaluations).toHaveLength(1);
    const [{ seeds, presets } = { seeds: [], presets: [] }] = report.evaluations;
    expect(seeds).toEqual([3]);
    expect(presets.map(({ preset, againstFp16 }) => [preset, againstFp16?.items])).toEqual([
      ["fp16", undefined],
      ["kivi-2", 1],
    ]);
  }
  expect(await readFile(out, "utf8")).toContain("kitty-kv eval --preset=kivi-2 --tasks=passkey --limit=1");
});

test("a child that cannot be fails alone, once; the others are reported, and what failed is named", async ({
  skip,
}) => {
  const problem = whyNoRealWorker();
  skip(problem !== undefined, problem);
  using home = temporaryFolder();
  const env = { KITTY_KV_HOME: home.path, OMP_NUM_THREADS: "1" };
  const kitty = (args: string[], input = "") =>
    execa(process.execPath, [CLI, ...args], { input, env, reject: false, all: true });
  const spec = `
kind: sweep
params:
  base: { kind: eval, params: { tasks: book_perplexity, presets: fp16, limit: 1 } }
  matrix: { lengths: ["512", "8192"] }
`;
  const submitted = await kitty(["job", "submit", "-", "--wait", "--json"], spec);
  const sweep = JSON.parse(submitted.stdout.trim().split("\n").at(-1) ?? "") as {
    id: string;
    error: { code: string; message: string; details: { children: string[] } };
  };
  expect(submitted.exitCode).toBe(1);
  expect(sweep.error.code).toBe("children_failed");
  expect(sweep.error.message).toContain("1 of 2 children did not succeed");
  const shown = await kitty(["job", "show", sweep.error.details.children[0] ?? "", "--json"]);
  expect(JSON.parse(shown.stdout)).toMatchObject({
    state: "failed",
    attempt: 1,
    error: {
      code: "context_exceeded",
      message: expect.stringContaining("the context of kitty-tiny is 4096") as string,
    },
  });
  const { stdout } = await kitty(["job", "list", "--state", "succeeded", "--json"]);
  expect((JSON.parse(stdout) as { jobs: unknown[] }).jobs).toMatchObject([
    { kind: "eval", progress: { done: 1, total: 1 } },
  ]);
  const report = await kitty(["report", sweep.id, "--out", join(home.path, "report.html")]);
  expect(report.exitCode).toBe(0);
  expect(report.all).toMatch(/1 of 2 children|left out/);
  expect(report.stdout).toMatch(/book.?_perplexity \| all \| fp16 \|/);
});
