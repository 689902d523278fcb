import { once } from "node:events";
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
  expect(stderr).toBe("asked: -m kitty_kernels.bench --json --quick --only decode --only pack");
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
