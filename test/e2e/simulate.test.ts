import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, expect, test } from "vitest";
import { isAlive } from "../src/is-alive.js";

const CLI = join(import.meta.dirname, "../../dist/cli/main.js");
const SMALL = ["--sequences", "1", "--length", "300"];

interface Document {
  cache: Record<string, number | string>;
  baseline: { bitsPerByte: number };
  simulated: { bitsPerByte: number };
  klDivergence: number;
  top1Agreement: number;
  layers: { layer: number; keyError: number; valueError: number }[];
  verification?: { isEqual: boolean; differences: unknown[] };
}

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "kitty-simulate-"));
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

function kitty(args: string[], env: Record<string, string> = {}) {
  return execa(process.execPath, [CLI, "simulate", ...args], { reject: false, input: "", env });
}

/** A program that stands for Python on another machine. */
function python(name: string): Record<string, string> {
  return { KITTY_KV_PYTHON: join(import.meta.dirname, "../fixtures/simulation", name) };
}

test("simulate --verify --json says what the default cache costs, and that the packed cache is it", async () => {
  const { exitCode, stdout, stderr } = await kitty([...SMALL, "--verify", "--json"]);
  const document = JSON.parse(stdout) as Document;
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
  expect(document.cache).toMatchObject({ preset: "kitty-pro", kBits: 2, boostRatio: 0.25 });
  expect(document.verification).toMatchObject({ isEqual: true, differences: [] });
  expect(document.layers).toHaveLength(6);
  expect(document.klDivergence).toBeGreaterThan(0);
  expect(document.top1Agreement).toBeGreaterThan(0.8);
});

test("flags over a file's cache, and a text of one's own, give a table", async () => {
  const config = join(folder, "config.yaml");
  const text = join(folder, "text.txt");
  await writeFile(config, "cache: { preset: kitty, kBits: 3, sinkTokens: 8 }\nworker: { dtype: float32 }\n");
  await writeFile(text, "It was a bright cold day in April, and the clocks were striking thirteen. ".repeat(40));
  const flags = ["--v-bits", "4", "--boost-ratio", "0.5", "--text", text, "-c", config];
  const { exitCode, stdout } = await kitty([...SMALL, ...flags]);
  expect(stdout).toContain("1 x 300 tokens of text.txt, float32");
  expect(stdout).toContain("kitty, K 3 bits, V 4 bits, 0.5 of key channels at 4 bits by magnitude, 8 sink tokens");
  expect(stdout).toMatch(/\| simulated \| \d+\.\d{4} \| \d+\.\d{3} \|/);
  expect(exitCode).toBe(0);
});

test("a difference is a result, with exit code 1", async () => {
  const flags = ["--verify", "--preset", "kivi-2", "--seed", "-3", "--json", "--verbose"];
  const { exitCode, stdout, stderr } = await kitty(flags, python("differing"));
  expect(stderr).toContain(
    "asked: -m kitty_kv.hosted kitty_kv.sim --json --preset=kivi-2 --seed=-3 --device=auto --dtype=auto --verify",
  );
  expect(JSON.parse(stdout)).toEqual({
    klDivergence: 0.5,
    verification: { isEqual: false, differenceCount: 1 },
  });
  expect(exitCode).toBe(1);
});

test("Ctrl-C ends a simulation and its process with exit code 130", async () => {
  const running = kitty(["--verbose"], python("endless"));
  const [said] = (await once(running.stderr, "data")) as [Buffer];
  const pid = Number(/simulating (\d+)/.exec(String(said))?.[1]);
  expect(isAlive(pid)).toBe(true);
  running.kill("SIGINT");
  const { exitCode, stdout, stderr } = await running;
  expect(stderr).toContain("Cannot simulate: it was interrupted");
  expect({ exitCode, stdout }).toEqual({ exitCode: 130, stdout: "" });
  expect(isAlive(pid)).toBe(false);
});

const WRONG: [args: string[], exitCode: number, message: string][] = [
  [["--k-bits", "0"], 2, '--k-bits must be 1 to 8 bits, or 16 for none, got "0"'],
  [["--v-bits", "9"], 2, '--v-bits must be 1 to 8 bits, or 16 for none, got "9"'],
  [["--boost-bits", "16"], 2, '--boost-bits must be 1 to 8 bits, got "16"'],
  [["--boost-ratio", "1.5"], 2, '--boost-ratio must be a number from 0 to 1, got "1.5"'],
  [["--preset", "kity"], 2, 'unknown preset "kity", did you mean "kitty"?'],
  [["--selection", "rang"], 2, 'cache.selection must be one of magnitude, range, query, variance, random, got "rang"'],
  [["--verifi"], 2, "unknown option '--verifi', did you mean --verify?"],
  [["--text", "/no/such/text"], 2, 'Cannot read the text "/no/such/text": No such file or directory'],
  [["--k-bits", "3", "--verify"], 1, "Cannot store a packed cache with k_bits = 3"],
];

test.each(WRONG)("simulate %j is refused in one sentence", async (args, code, message) => {
  const { exitCode, stdout, stderr } = await kitty(args);
  expect(stderr).toContain(message);
  expect(stderr).toMatch(/^Cannot [^\n]+$/);
  expect({ exitCode, stdout }).toEqual({ exitCode: code, stdout: "" });
});

test("simulate --json refuses with the contract's error document", async () => {
  const { exitCode, stdout, stderr } = await kitty(["--page-size", "12", "--json"]);
  expect(JSON.parse(stdout)).toMatchObject({ error: { code: "invalid_argument", details: { field: "page_size" } } });
  expect({ exitCode, stderr }).toEqual({ exitCode: 2, stderr: "" });
});
