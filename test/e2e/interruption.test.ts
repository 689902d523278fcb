import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { execa } from "execa";
import { expect, test } from "vitest";

const CLI = join(import.meta.dirname, "../../dist/cli/main.js");
const ENDLESS = ["--max-new-tokens", "4000"];

/** The built command, with stdin closed unless a test writes to it. */
function kitty(args: string[], env: Record<string, string> = {}) {
  return execa(process.execPath, [CLI, ...args], { reject: false, input: "", stripFinalNewline: false, env });
}

/** Waits until a stream has said something. */
async function printed(stream: Readable, wanted: string): Promise<void> {
  let text = "";
  while (!text.includes(wanted)) text += String((await once(stream, "data"))[0]);
}

test("Ctrl-C ends a generation with what was written so far and exit code 130", async () => {
  const running = kitty(["generate", "Once upon a time", ...ENDLESS]);
  await once(running.stdout, "data");
  running.kill("SIGINT");
  const { exitCode, stdout, stderr } = await running;
  expect(exitCode).toBe(130);
  expect(stdout.length).toBeGreaterThan(1);
  expect(stderr).toContain("tokens (cancelled)");
});

test("Ctrl-C before the model is loaded is one sentence and exit code 130", async () => {
  const running = kitty(["up", "--once"]);
  await once(running.stderr, "data");
  running.kill("SIGINT");
  const { exitCode, stdout, stderr } = await running;
  expect(exitCode).toBe(130);
  expect(stdout).toBe("");
  expect(stderr).toMatch(/\nCannot [^\n]+: the signal was aborted\n$/);
});

test("Ctrl-C with --json still ends with the document", async () => {
  const running = kitty(["up", "--once", "--json"]);
  await printed(running.stderr, " on ");
  running.kill("SIGINT");
  const { exitCode, stdout } = await running;
  expect(JSON.parse(stdout)).toMatchObject({ finishReason: "cancelled" });
  expect(exitCode).toBe(130);
});

test("The second Ctrl-C does not wait", async () => {
  const running = kitty(["up", "--once"]);
  await once(running.stderr, "data");
  running.kill("SIGINT");
  running.kill("SIGINT");
  expect((await running).exitCode).toBe(130);
});

test("A reader that has seen enough ends a generation quietly", async () => {
  const running = execa(process.execPath, [CLI, "generate", "Once upon a time", ...ENDLESS], {
    reject: false,
    input: "",
  });
  await once(running.stdout, "data");
  running.stdout.destroy();
  const { exitCode, stderr } = await running;
  expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
  expect(stderr).not.toContain("EPIPE");
});

test("up without --once stays until Ctrl-C, and ends with 0", async () => {
  const home = await mkdtemp(join(tmpdir(), "kitty-up-"));
  const running = kitty(["up", "--port", "0"], { KITTY_KV_HOME: home });
  await printed(running.stderr, "Ctrl-C stops");
  running.kill("SIGINT");
  expect((await running).exitCode).toBe(0);
  await rm(home, { recursive: true });
});
