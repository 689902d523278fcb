import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";

interface Outcome {
  code: number | null;
  stdout: string;
  stderr: string;
}

interface Completion {
  text: string;
  finishReason: string;
  promptTokens: number;
  completionTokens: number;
  kvCache: Record<string, number | string>;
}

const CLI = join(import.meta.dirname, "../../dist/cli/main.js");
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "kitty-e2e-"));
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** The built command as a real process, with the real worker and the bundled model. */
function kitty(args: string[], stdin?: string | Buffer): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [CLI, ...args], { maxBuffer: 2 ** 24 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
    child.stdin?.end(stdin ?? "");
  });
}

const oneSentence = /^Cannot [^\n]+\n$/;

test("generate --json ends with the contract's document, and the cache's real bytes", async () => {
  const { code, stdout } = await kitty(["generate", "Once upon a time", "--max-new-tokens", "8", "--json"]);
  expect(code).toBe(0);
  const result = JSON.parse(stdout) as Completion;
  expect(Object.keys(result)).toEqual([
    "text",
    "finishReason",
    "promptTokens",
    "completionTokens",
    "timeToFirstTokenMs",
    "tokensPerSecond",
    "kvCache",
  ]);
  expect(result).toMatchObject({ finishReason: "length", completionTokens: 8 });
  expect(Object.keys(result.kvCache)).toEqual([
    "preset",
    "tokens",
    "packedBytes",
    "fullPrecisionBytes",
    "denseBytes",
    "compression",
  ]);
  expect(result.kvCache).toMatchObject({ preset: "kitty-pro", packedBytes: 0, compression: 1 });
});

test("a long prompt from stdin is held in two bits, as the layout's arithmetic predicts", async () => {
  const prompt = "The whale rose slowly from the sea, and the men in the boats were silent. ".repeat(130);
  const { code, stdout } = await kitty(["generate", "-", "--max-new-tokens", "2", "--json"], prompt);
  expect(code).toBe(0);
  const { kvCache } = JSON.parse(stdout) as Completion;
  const tokens = Number(kvCache["tokens"]);
  expect(tokens).toBeGreaterThan(1500);
  const keyPages = Math.floor((tokens - 32) / 128);
  const valuePages = Math.floor((tokens - 32 - 128) / 128);
  const heads = 6 * 2;
  const packed = heads * (keyPages * (4096 + 1024 + 32 + 512) + valuePages * (4096 + 512));
  const full = heads * 256 * (2 * tokens - 128 * (keyPages + valuePages));
  expect(kvCache).toMatchObject({ packedBytes: packed, fullPrecisionBytes: full, denseBytes: heads * tokens * 512 });
  expect(kvCache["compression"]).toBeCloseTo((heads * tokens * 512) / (packed + full), 6);
});

test("up --once starts, writes one text and ends with 0", async () => {
  const { code, stdout } = await kitty(["up", "--once"]);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^Once upon a time.{40,}/s);
});

test("chat answers every line in one session", async () => {
  const { code, stdout } = await kitty(["chat", "--json", "--max-new-tokens", "4"], "Hello\nAgain\n/exit\n");
  expect(code).toBe(0);
  const turns = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Completion);
  expect(turns).toHaveLength(2);
  expect(Number(turns[1]?.kvCache["tokens"])).toBeGreaterThan(Number(turns[0]?.kvCache["tokens"]));
});

test("doctor reports what works here", async () => {
  const { code, stdout } = await kitty(["doctor", "--json"]);
  expect(code).toBe(0);
  expect(stdout).toContain("torch");
});

test("bad input is one sentence with exit code 2, before any work", async () => {
  const badYaml = join(folder, "bad.yaml");
  await writeFile(badYaml, "cache: { prest: kitty }\n");
  const cases: [string[], RegExp, (string | Buffer)?][] = [
    [["generate", "Hi", "--preset", "kity-pro"], /kitty-pro/],
    [["generate", "Hi", "--model", join(folder, "nothing")], /nothing/],
    [["generate", "Hi", "--model", folder], /config\.json|not a model/],
    [["generate", ""], /empty/],
    [["generate", "-"], /empty/],
    [["generate", "Hi", "--max-new-tokens", "-3"], /-3/],
    [["generate", "Hi", "-c", badYaml], /did you mean "preset"/],
    [["generate", "-"], /UTF-8/, Buffer.from([72, 105, 0xff, 0xfe])],
    [["generate", "-"], /4096/, "word ".repeat(6000)],
  ];
  for (const [args, expected, stdin] of cases) {
    const { code, stderr, stdout } = await kitty(args, stdin);
    expect({ args, code, stdout }).toEqual({ args, code: 2, stdout: "" });
    expect(stderr.trim()).toMatch(expected);
    expect(stderr).toMatch(oneSentence);
  }
});

test("with --json an error is a document on stdout", async () => {
  const { code, stdout } = await kitty(["generate", "Hi", "--preset", "kity-pro", "--json"]);
  expect(code).toBe(2);
  expect(JSON.parse(stdout)).toMatchObject({ error: { code: "unknown_preset" } });
});
