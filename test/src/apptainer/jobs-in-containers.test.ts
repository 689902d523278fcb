import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, onTestFinished, test } from "vitest";
import { Kitty, LocalJobService, overlayStatus, resolveConfig, type ConfigInput } from "../../../src/index.js";
import { temporaryFolder } from "../../scripts/temporary-folder.js";
import { listInstances, removeOrphans } from "../../../src/apptainer/list-instances.js";
import { instanceHome } from "./test-overlay.js";

const RUNNER = fileURLToPath(new URL("../../fixtures/container-runner.ts", import.meta.url));
const { problem, home, place } = instanceHome();
afterAll(() => {
  home[Symbol.dispose]();
});

function folder(): string {
  const temporary = temporaryFolder();
  onTestFinished(() => {
    temporary[Symbol.dispose]();
  });
  return temporary.path;
}

function config(path: string): ConfigInput {
  return { runner: "apptainer", apptainer: { ...place }, jobs: { folder: path }, worker: { startTimeoutMs: 240_000 } };
}

/** A text under a name that no other process has in its command line. */
function textIn(path: string): { file: string; name: string } {
  const name = `text-${String(process.pid)}-${String(Date.now())}.txt`;
  const file = join(path, name);
  writeFileSync(file, "It was a bright cold day in April, and the clocks were striking thirteen. ".repeat(400));
  return { file, name };
}

function processesWith(word: string): string[] {
  return readdirSync("/proc").filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(word);
    } catch {
      // It ended meanwhile.
      return false;
    }
  });
}

test("a simulation and an evaluation run in containers on the read-only overlay, with the files that they are given", async ({
  skip,
}) => {
  skip(problem !== undefined, problem);
  const path = folder();
  const { file, name } = textIn(path);
  await using kitty = await Kitty.start({ config: config(path) });
  const [simulation, evaluation] = await kitty.jobs.submitMany([
    { kind: "simulate", params: { text: file, length: 64 }, cache: { preset: "kitty" } },
    { kind: "eval", params: { tasks: "passkey", limit: 1, presets: "kitty" } },
  ]);
  expect(await simulation?.result()).toMatchObject({ figures: { text: name } });
  const result = await evaluation?.result();
  expect(result?.files.map(({ name }) => name)).toEqual(["figures.json", "report.txt", "report.html", "log.txt"]);
  const items = join(path, "jobs", evaluation?.id ?? "", "items");
  expect(result?.figures).toMatchObject({ folder: items });
  expect(readFileSync(join(items, "items.jsonl"), "utf8")).toContain('"passkey"');
  const wrong = await kitty.jobs.submit({ kind: "latency", params: { parts: "decode" } });
  expect(await wrong.wait()).toMatchObject({ state: "failed", attempt: 1, error: { code: "usage" } });
  expect((await overlayStatus(place.overlay)).holders.map(({ purpose }) => purpose)).toEqual([
    // The one that stands ready for sessions.
    expect.stringMatching(/^run instance/),
  ]);
}, 240_000);

test("what runs in a container ends when its job is cancelled, and when its orchestrator is killed", async ({
  skip,
}) => {
  skip(problem !== undefined, problem);
  const path = folder();
  const { file, name } = textIn(path);
  const service = new LocalJobService({ config: resolveConfig(config(path)) });
  onTestFinished(() => service.close());
  const orchestrator = spawn(process.execPath, ["--import", "tsx", RUNNER, path, place.image, place.overlay], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void orchestrator.kill("SIGKILL"));
  const long = { kind: "simulate" as const, params: { text: file, sequences: 20, length: 800 } };
  const runs = { timeout: 60_000, interval: 100 };
  const first = await service.submit(long);
  await expect.poll(() => processesWith(name).length, runs).toBeGreaterThan(0);
  await service.cancel(first.id);
  await expect.poll(() => processesWith(name), runs).toEqual([]);
  expect((await service.wait(first.id)).state).toBe("cancelled");
  await service.submit(long);
  await expect.poll(() => processesWith(name).length, runs).toBeGreaterThan(0);
  orchestrator.kill("SIGKILL");
  await once(orchestrator, "exit");
  await expect.poll(() => processesWith(name), runs).toEqual([]);
  // The instance that stood ready for its sessions is nobody's now, and goes with whoever comes next.
  await removeOrphans();
  expect(await listInstances()).toEqual([]);
}, 240_000);
