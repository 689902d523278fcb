import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, afterEach, expect, onTestFinished, test } from "vitest";
import { runApptainer } from "../../../src/apptainer/apptainer.js";
import { readInstanceLog } from "../../../src/apptainer/instance-log.js";
import { findInstanceProcesses } from "../../../src/apptainer/instance-processes.js";
import { instancePlace, readRecord } from "../../../src/apptainer/instance-record.js";
import { listInstances, removeOrphans } from "../../../src/apptainer/list-instances.js";
import { overlayStatus } from "../../../src/apptainer/overlay-status.js";
import { stopInstances } from "../../../src/apptainer/stop-instances.js";
import { startInstances } from "../../../src/runner/start-instances.js";
import { instanceHome } from "./test-overlay.js";

const STARTER = join(import.meta.dirname, "../../fixtures/instance-starter.ts");
const { problem, home, place } = instanceHome();

afterEach(async () => {
  await stopInstances("all");
});

afterAll(() => {
  home[Symbol.dispose]();
});

async function spawnStarter(kind: "owned" | "detached"): Promise<{ starter: ChildProcess; name: string }> {
  const args = ["--import", "tsx", STARTER, place.image, place.overlay, kind];
  const starter = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  onTestFinished(() => void starter.kill("SIGKILL"));
  const [name] = (await once(createInterface(starter.stdout), "line")) as [string];
  return { starter, name };
}

async function kill9(child: ChildProcess): Promise<void> {
  child.kill("SIGKILL");
  await once(child, "exit");
}

function sha256(path: string): string {
  return spawnSync("sha256sum", [path], { encoding: "utf8" }).stdout.split(" ")[0] ?? "";
}

/** What Apptainer knows, with no help of ours. */
async function apptainerNames(): Promise<string[]> {
  const stdout = await runApptainer(["instance", "list", "--json"], { purpose: "list" });
  return (JSON.parse(stdout) as { instances: { instance: string }[] }).instances.map(({ instance }) => instance);
}

/** Nothing of an instance is left: no process, no file, no lease. */
async function expectGone(name: string, files: readonly string[]): Promise<void> {
  expect(await apptainerNames()).not.toContain(name);
  expect(findInstanceProcesses(name, null)).toEqual([]);
  expect([...files, instancePlace(name).folder].filter(existsSync)).toEqual([]);
}

test(
  "instances share one overlay, hold leases while they live, are found by others, tell what happened, and end without trace",
  { timeout: 120_000 },
  async ({ skip }) => {
    skip(problem !== undefined, problem);
    const started = await startInstances(place, { count: 2 });
    const names = started.map(({ name }) => name);
    expect(new Set(names).size).toBe(2);
    expect((await listInstances()).map(({ name, state }) => [name, state])).toEqual(
      expect.arrayContaining(names.map((name) => [name, "ready"])),
    );
    expect(await apptainerNames()).toEqual(expect.arrayContaining(names));
    const purposes = (await overlayStatus(place.overlay)).holders.map(({ purpose }) => purpose);
    expect(purposes).toEqual(expect.arrayContaining(names.map((name) => `run instance ${name}`)));
    const [name = ""] = names;
    const lines = [];
    for await (const line of readInstanceLog(name)) lines.push(line);
    expect(lines.at(-1)).toMatch(/^\S+Z a worker answered \(process \d+ inside, torch [\d.]+\+cpu\)$/);
    expect(await stopInstances([name])).toEqual([name]);
    await stopInstances("all");
    for (const { name: gone, files } of started) await expectGone(gone, files);
    const { manifest } = await overlayStatus(place.overlay);
    expect(manifest).toMatchObject({ state: "sealed", sha256: sha256(place.overlay) });
  },
);

test("following a log ends when the instance does", async ({ skip }) => {
  skip(problem !== undefined, problem);
  const { name } = await spawnStarter("detached");
  const lines: string[] = [];
  for await (const line of readInstanceLog(name, { follows: true })) {
    lines.push(line);
    void stopInstances([name]);
  }
  expect(lines.join("\n")).toContain(`started on ${place.image}`);
});

test("the instance of a process that was killed is an orphan, which the next one to look removes", async ({ skip }) => {
  skip(problem !== undefined, problem);
  const { starter, name } = await spawnStarter("owned");
  expect((await listInstances()).map(({ state }) => state)).toEqual(["starting"]);
  expect(await removeOrphans()).toEqual([]);
  const { files } = await readRecord(name);
  await kill9(starter);
  expect((await listInstances()).map(({ state }) => state)).toEqual(["orphaned"]);
  expect(await removeOrphans()).toEqual([name]);
  await expectGone(name, files);
});

test("a start that is killed half-way leaves nothing that stays", async ({ skip }) => {
  skip(problem !== undefined, problem);
  const args = ["--import", "tsx", STARTER, place.image, place.overlay, "detached"];
  const starter = spawn(process.execPath, args, { stdio: "ignore" });
  onTestFinished(() => void starter.kill("SIGKILL"));
  await expect.poll(() => listInstances(), { interval: 5, timeout: 20_000 }).toHaveLength(1);
  await kill9(starter);
  const [name] = await removeOrphans();
  expect(name).toMatch(/^kitty-/);
  await expectGone(name ?? "", []);
  expect(await listInstances()).toEqual([]);
});

test("an owned instance ends with a process that exits by itself", async ({ skip }) => {
  skip(problem !== undefined, problem);
  const { starter, name } = await spawnStarter("owned");
  const { process: holder, files } = await readRecord(name);
  expect(findInstanceProcesses(name, holder)).not.toEqual([]);
  starter.kill("SIGTERM");
  await once(starter, "exit");
  await expect.poll(() => findInstanceProcesses(name, holder)).toEqual([]);
  expect(await removeOrphans()).toEqual([name]);
  await expectGone(name, files);
});

test("an instance that is killed is dead, its log stays until it is stopped, and its lease no longer counts", async ({
  skip,
}) => {
  skip(problem !== undefined, problem);
  const { name } = await spawnStarter("detached");
  const record = await readRecord(name);
  for (const pid of findInstanceProcesses(name, record.process)) process.kill(pid, "SIGKILL");
  await expect.poll(async () => (await listInstances())[0]?.state).toBe("dead");
  expect((await overlayStatus(place.overlay)).holders.map(({ purpose }) => purpose)).not.toContain(
    `run instance ${name}`,
  );
  expect(readFileSync(instancePlace(name).log, "utf8")).toContain("started on");
  await stopInstances([name]);
  await expectGone(name, record.files);
});

test("instances that do not exist, or whose names are none, are refused before Apptainer is asked", async () => {
  for (const name of ["*", "--all", "kitty-0123456789ab;id"]) {
    await expect(stopInstances([name])).rejects.toMatchObject({ code: "invalid_instance_name" });
  }
  await expect(stopInstances(["kitty-0123456789ab"])).rejects.toMatchObject({ code: "instance_not_found" });
  await expect(readInstanceLog("kitty-0123456789ab").next()).rejects.toMatchObject({ code: "instance_not_found" });
});

test("a start whose worker fails, and limits that this machine cannot set, leave nothing", async ({ skip }) => {
  skip(problem !== undefined, problem);
  const failing = startInstances(place, { python: "/no/python" });
  await expect(failing).rejects.toMatchObject({ name: "WorkerExitedError" });
  expect(readdirSync(join(home.path, "instances"))).toEqual([]);
  const limited = await startInstances({ ...place, memoryMiB: 4000 }, {}).catch((error: unknown) => error);
  // With systemd and cgroups v2 it starts.
  if (!Array.isArray(limited)) expect(limited).toMatchObject({ code: "limits_unsupported" });
});

test("a start that is cancelled leaves nothing", async ({ skip }) => {
  skip(problem !== undefined, problem);
  const stop = new AbortController();
  const starting = startInstances(place, { count: 2, signal: stop.signal });
  await expect.poll(() => listInstances(), { interval: 5 }).not.toEqual([]);
  stop.abort();
  // Of these only: Apptainer's list has those of other tests too.
  const names = readdirSync(join(home.path, "instances"));
  await expect(starting).rejects.toMatchObject({ code: "cancelled" });
  expect(await listInstances()).toEqual([]);
  expect(names).not.toEqual([]);
  expect((await apptainerNames()).filter((name) => names.includes(name))).toEqual([]);
});
