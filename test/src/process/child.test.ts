import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { spawnChild } from "../../../src/process/child.js";
import { stopChild } from "../../../src/process/stop-child.js";
import { isAlive } from "../is-alive.js";

const LIMITS = { graceMs: 100, killAfterMs: 100 };

function shell(script: string, onStderrLine: (line: string) => void = () => undefined) {
  return spawnChild({ file: "/bin/sh", args: ["-c", script], env: { PATH: process.env["PATH"] ?? "" } }, onStderrLine);
}

async function firstLine(child: ReturnType<typeof shell>): Promise<string> {
  const [line] = (await once(createInterface(child.stdout), "line")) as [string];
  return line;
}

test("spawnChild() reports the exit code and keeps the last 50 stderr lines", async () => {
  const lines: string[] = [];
  const child = shell("for i in $(seq 60); do echo line $i >&2; done; printf tail >&2; exit 3", (line) =>
    lines.push(line),
  );
  const { exitCode, signal, stderrTail } = await child.exited;
  expect([exitCode, signal]).toEqual([3, null]);
  expect(lines).toHaveLength(61);
  expect([stderrTail.length, stderrTail[0], stderrTail.at(-1)]).toEqual([50, "line 12", "tail"]);
});

test("spawnChild() hands over arguments as they are, and no environment but the one given", async () => {
  const args = [
    "-c",
    'printf "%s\\n" "$1"; env | sort | cut -d= -f1 | grep -v -e PWD -e SHLVL -e _',
    "sh",
    "$(id) ; 'x' \"y\"",
  ];
  const child = spawnChild(
    { file: "/bin/sh", args, env: { PATH: process.env["PATH"] ?? "", ONLY: "1" } },
    () => undefined,
  );
  const lines: string[] = [];
  createInterface(child.stdout).on("line", (line) => lines.push(line));
  await child.exited;
  expect(lines).toEqual(["$(id) ; 'x' \"y\"", "ONLY", "PATH"]);
});

test("spawnChild() resolves with the reason when the program cannot be started", async () => {
  const child = spawnChild({ file: "/no/such/program", args: [], env: {} }, () => undefined);
  const { startError, exitCode } = await child.exited;
  expect([exitCode, startError?.message]).toEqual([null, expect.stringContaining("ENOENT")]);
});

test("writing to a child that is gone does no harm", async () => {
  const child = shell("exit 0");
  await child.exited;
  child.stdin.write("x".repeat(1_000_000));
  child.kill("SIGTERM");
});

test("stopChild() lets a program leave by itself once its stdin is closed", async () => {
  const child = shell("cat >/dev/null; exit 4");
  await stopChild(child, { graceMs: 5000, killAfterMs: 5000 });
  expect(await child.exited).toMatchObject({ exitCode: 4, signal: null });
});

test("stopChild() sends SIGTERM to a program that does not mind its stdin", async () => {
  const child = shell("echo ready; exec sleep 600");
  await firstLine(child);
  await stopChild(child, LIMITS);
  expect(await child.exited).toMatchObject({ signal: "SIGTERM" });
});

test("stopChild() kills a program that ignores SIGTERM, and its children", async () => {
  const child = shell("trap '' TERM; sleep 600 & echo $!; wait; wait");
  const grandchild = Number(await firstLine(child));
  await stopChild(child, LIMITS);
  expect(await child.exited).toMatchObject({ signal: "SIGKILL" });
  await expect.poll(() => isAlive(grandchild)).toBe(false);
});

test("children that a program leaves behind do not delay its end, and go with it", async () => {
  const child = shell("sleep 600 & echo $!; exit 5");
  const grandchild = Number(await firstLine(child));
  expect(await child.exited).toMatchObject({ exitCode: 5 });
  await expect.poll(() => isAlive(grandchild)).toBe(false);
});

test("children die when the host calls process.exit()", async () => {
  const file = fileURLToPath(new URL("../../fixtures/exiting-parent.ts", import.meta.url));
  const parent = spawn(process.execPath, ["--import", "tsx", file], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = (await once(createInterface(parent.stdout), "line")) as [string];
  if (parent.exitCode === null) await once(parent, "exit");
  expect(Number(line)).toBeGreaterThan(0);
  await expect.poll(() => isAlive(Number(line))).toBe(false);
});
