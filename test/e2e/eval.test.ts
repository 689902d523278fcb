import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, expect, test } from "vitest";

const CLI = join(import.meta.dirname, "../../dist/cli/main.js");
const SMALL = ["--tasks", "passkey,book_perplexity", "--limit", "1", "--lengths", "512"];

interface Document {
  resumedItems: number;
  rows: { task: string; preset: string; items: number; againstFp16?: { items: number } }[];
}

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "kitty-eval-"));
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

function kitty(args: string[], env: Record<string, string> = {}) {
  return execa(process.execPath, [CLI, "eval", ...args], { reject: false, input: "", env });
}

test("eval compares presets with fp16, keeps results in --out and goes on from them", async () => {
  const args = [...SMALL, "--preset", "kivi-2,fp16", "--out", folder, "--json"];
  const first = await kitty(args);
  const document = JSON.parse(first.stdout) as Document;
  expect(first.exitCode).toBe(0);
  expect(document.rows.map(({ task, preset }) => `${task} ${preset}`)).toEqual([
    "passkey kivi-2",
    "passkey fp16",
    "book_perplexity kivi-2",
    "book_perplexity fp16",
  ]);
  expect(document.rows[0]?.againstFp16?.items).toBe(1);
  expect(first.stderr).toMatch(/^4\/4 fp16 book_perplexity\/0 \(512 tokens\): \d\.\d{4} nats a token/m);
  expect(await readFile(join(folder, "report.md"), "utf8")).toContain("| passkey | all | kivi-2 |");
  const second = JSON.parse((await kitty(args)).stdout) as Document;
  expect(second.rows).toEqual(document.rows);
  expect(second.resumedItems).toBe(4);
  const out = join(folder, "all", "report.html");
  const report = await execa(process.execPath, [CLI, "report", folder, "--out", out, "--json"]);
  const { files, evaluations } = JSON.parse(report.stdout) as { files: string[]; evaluations: unknown[] };
  expect(evaluations).toHaveLength(1);
  expect(files.map((file) => extname(file))).toEqual([".html", ".md", ".json", ".csv"]);
  expect(await readFile(out, "utf8")).toMatch(/^<!doctype html>[^]*kivi-2[^]*<svg[^]*<\/html>\n$/);
});

test("a report without results, or of none, is refused in one sentence", async () => {
  const report = (...args: string[]) =>
    execa(process.execPath, [CLI, "report", ...args], { reject: false, env: { KITTY_KV_HOME: join(folder, "new") } });
  const cases: [string[], string, number][] = [
    [[], "no job of kind eval, latency or simulate has succeeded", 2],
    [["0f8fad5b-d9cb-469f-a165-70867728950e"], "there is none with this id", 1],
    [[join(folder, "../")], "it holds neither run.json nor figures.json", 2],
    [[CLI], "it is not readable as JSON", 2],
    [[folder, "--out", "report.pdf"], "give a file that ends in .html", 2],
  ];
  for (const [args, message, exitCode] of cases) {
    const found = await report(...args);
    expect(found).toMatchObject({ exitCode, stdout: "" });
    expect(found.stderr).toContain(message);
  }
});

test("without a list the configuration's preset is held to fp16", async () => {
  const { stderr } = await kitty(["--verbose", "--seed", "-3"], {
    KITTY_KV_HOME: folder,
    KITTY_KV_PYTHON: join(import.meta.dirname, "../fixtures/simulation/differing"),
  });
  expect(stderr).toContain(
    `asked: -m kitty_kv.hosted kitty_kv.eval --json --preset=kitty-pro,fp16 --seed=-3 --home=${folder}/evaluations --device=auto --dtype=auto`,
  );
});

const WRONG: [args: string[], message: string][] = [
  [["--tasks", "pass-key"], "did you mean 'passkey'"],
  [["--preset", "kity"], "did you mean 'kitty'"],
  [["--lengths", "8192"], "the context of kitty-tiny is 4096; give smaller --lengths"],
  [["--limit", "0"], '--limit must be a whole number >= 1, got "0"'],
  [["--limt", "1"], "unknown option '--limt'"],
];

test.each(WRONG)("eval %j is refused in one sentence", async (args, message) => {
  const { exitCode, stdout, stderr } = await kitty(args);
  expect(stderr).toContain(message);
  expect(stderr).toMatch(/^Cannot [^\n]+$/);
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
});
