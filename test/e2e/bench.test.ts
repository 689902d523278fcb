import { once } from "node:events";
import { mkdtemp, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { expect, test } from "vitest";
import { isAlive } from "../src/is-alive.js";

const CLI = join(import.meta.dirname, "../../dist/cli/main.js");
const WITHOUT_GPU = { CUDA_VISIBLE_DEVICES: "" };

function kitty(args: string[], env: Record<string, string>) {
  return execa(process.execPath, [CLI, "bench", ...args], { reject: false, input: "", env });
}

/** A program that stands for Python on another machine. */
function python(name: string): Record<string, string> {
  return { KITTY_KV_PYTHON: join(import.meta.dirname, "../fixtures/kernel-bench", name) };
}

test("bench kernels without a GPU is one sentence and exit code 1", async () => {
  const { exitCode, stdout, stderr } = await kitty(["kernels"], WITHOUT_GPU);
  expect(stderr).toMatch(/^Cannot measure kernels: torch \S+ finds no CUDA GPU, run this on a machine that has one\.$/);
  expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
});

test("bench kernels --json without a GPU is the contract's error document", async () => {
  const { exitCode, stdout, stderr } = await kitty(["kernels", "--json"], WITHOUT_GPU);
  expect(JSON.parse(stdout)).toMatchObject({ error: { code: "unsupported", details: {} } });
  expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: "" });
});

test("bench kernels prints the table, and what is said meanwhile on stderr", async () => {
  const args = ["kernels", "--quick", "--only", "decode", "--only", "pack"];
  const { exitCode, stdout, stderr } = await kitty(args, python("figures"));
  expect(stderr).toBe("asked: -m kitty_kv.hosted kitty_kernels.bench --json --quick --only decode --only pack");
  expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: "| a table |" });
});

test("bench kernels --json prints the figures as one document", async () => {
  const { exitCode, stdout } = await kitty(["kernels", "--json"], python("figures"));
  expect(JSON.parse(stdout)).toEqual({ environment: { gpu: "a GPU" }, decode: [{ ratio: 4.5 }] });
  expect(exitCode).toBe(0);
});

test("a measurement that dies says how, and why as Python put it", async () => {
  const { exitCode, stdout } = await kitty(["kernels", "--json"], python("crash"));
  const { error } = JSON.parse(stdout) as { error: { code: string; message: string } };
  expect(error.message).toContain(
    "exit code 1 and no figures (RuntimeError: CUDA error: an illegal memory access was encountered)",
  );
  expect({ exitCode, code: error.code }).toEqual({ exitCode: 1, code: "bench_failed" });
});

test("Ctrl-C ends a measurement and its process with exit code 130", async () => {
  const running = kitty(["kernels"], python("endless"));
  const [said] = (await once(running.stderr, "data")) as [Buffer];
  const pid = Number(/measuring (\d+)/.exec(String(said))?.[1]);
  expect(isAlive(pid)).toBe(true);
  running.kill("SIGINT");
  const { exitCode, stdout, stderr } = await running;
  expect(stderr).toContain("Cannot measure kernels: it was interrupted");
  expect({ exitCode, stdout }).toEqual({ exitCode: 130, stdout: "" });
  expect(isAlive(pid)).toBe(false);
});

test.each([
  [["kernels", "--only", "paint"], '--only must be one of decode, short, pack, flush, got "paint"'],
  [["kernel"], "unknown command 'kernel', did you mean kernels?"],
  [["kernels", "--quik"], "unknown option '--quik', did you mean --quick?"],
])("bench %j is wrong usage", async (args, message) => {
  const { exitCode, stdout, stderr } = await kitty(args, {});
  expect(stderr).toContain(message);
  expect(stderr).toMatch(/^Cannot [^\n]+$/);
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
});

test("bench latency times the caches of Transformers, ours and the engine with the bundled model, and draws them", async () => {
  const folder = await mkdtemp(join(tmpdir(), "kitty-latency-"));
  const args = ["--json", "--shapes", "2x40", "--new-tokens", "6", "--peers", "hf-dynamic,hf-hqq-2,engine kitty-pro"];
  const { exitCode, stdout, stderr } = await kitty(["latency", ...args, "--out", folder], WITHOUT_GPU);
  const { rows, environment } = JSON.parse(stdout) as { rows: Record<string, unknown>[]; environment: object };
  expect(rows.map(({ part, peer, batch, promptTokens }) => [part, peer, batch, promptTokens])).toEqual([
    ["step", "hf-dynamic", 2, 40],
    ["step", "engine kitty-pro", 2, 40],
    ["step", "hf-hqq-2", 2, 40],
  ]);
  expect(rows[2]).toMatchObject({ stepMs: null, reason: expect.stringContaining("hqq") as string });
  for (const { stepMs, firstTokenMs, tokensPerSecond, reason } of rows.filter(({ peer }) => peer !== "hf-hqq-2")) {
    expect(reason).toBeNull();
    expect(Number(tokensPerSecond)).toBeCloseTo(2000 / Number(stepMs), 3);
    expect(Number(firstTokenMs)).toBeGreaterThan(0);
  }
  expect(environment).toMatchObject({ transformers: "4.53.2" });
  expect(stderr).toMatch(/^\[ +\d+\.\d s\] step 2 x 40 engine kitty-pro: first token after \d+ ms, [\d.]+ ms a step/m);
  expect(JSON.parse(await readFile(join(folder, "report.json"), "utf8"))).toEqual({ environment, rows });
  expect(await readFile(join(folder, "latency.svg"), "utf8")).toMatch(/^<svg[^]*hf-dynamic[^]*engine kitty-pro/);
  expect(exitCode).toBe(0);
});

test.each([
  [["--shapes", "1x4x"], "usage", /want shapes such as 1x4096,8x4096, got '1x4x'/],
  [["--shapes", "1x40000"], "invalid_argument", /needs 40024 tokens .* context has 4096/],
  [["--peers", "vllm"], "invalid_argument", /--peers must be among hf-dynamic, .* got vllm/],
  [["--parts", "paint"], "usage", /want some of step, budget, prefill, got 'paint'/],
  [["--fill", "guess"], "usage", /--fill: invalid choice: 'guess'/],
  [["--model", "./no-such-model"], "model_not_found", /there is no such folder/],
])("bench latency %j is refused with exit code 2", async (args, code, message) => {
  const { exitCode, stdout } = await kitty(["latency", "--json", ...args], WITHOUT_GPU);
  const { error } = JSON.parse(stdout) as { error: { code: string; message: string } };
  expect({ exitCode, code: error.code }).toEqual({ exitCode: 2, code });
  expect(error.message).toMatch(message);
});
