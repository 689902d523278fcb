import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, onTestFinished, test } from "vitest";
import { findInstanceProcesses } from "../../../src/apptainer/instance-processes.js";
import { Kitty, listInstances, overlayStatus, type ConfigInput } from "../../../src/index.js";
import { instanceHome } from "../apptainer/test-overlay.js";
import { packageRoot } from "../../../src/runner/package-root.js";

const PROMPT = "It was a bright cold day, and the old man went down to the";
const { problem, home, place } = instanceHome();

afterAll(async () => {
  expect(await listInstances()).toEqual([]);
  home[Symbol.dispose]();
});

async function startKitty(config: ConfigInput = {}): Promise<Kitty> {
  const kitty = await Kitty.start({ config: { runner: "apptainer", apptainer: place, ...config } });
  onTestFinished(() => kitty.close());
  return kitty;
}

async function names(): Promise<string[]> {
  return (await listInstances()).map(({ name }) => name);
}

test(
  "sessions write the same text in instances as in a local worker, from a model folder that instances see",
  { timeout: 120_000 },
  async ({ skip }) => {
    skip(problem !== undefined, problem);
    const model = join(home.path, "model");
    cpSync(join(packageRoot(), "python/kitty_kv/tiny/model"), model, { recursive: true });
    await using local = await Kitty.start();
    const inside = await startKitty({ apptainer: { ...place, modelFolders: [model] } });
    const texts = await Promise.all(
      [local, inside].map(async (kitty) => {
        await using session = await kitty.sessions.open({ model });
        const { text } = await session.generate(PROMPT, { maxNewTokens: 24 }).result();
        return [session.model.path, text];
      }),
    );
    expect(texts[1]).toEqual(texts[0]);
    expect(texts[0]?.[0]).toBe(model);
    await expect(inside.sessions.open({ model: join(home.path, "hashes") })).rejects.toMatchObject({
      code: "model_not_found",
    });
  },
);

test(
  "the pool grows to its limit and shrinks; sessions stay where they are; what an instance's death takes is told and replaced",
  { timeout: 180_000 },
  async ({ skip }) => {
    skip(problem !== undefined, problem);
    const pool = { min: 1, max: 2, sessionsPerWorker: 1, idleTimeoutMs: 200 };
    const kitty = await startKitty({ pool });
    const one = await kitty.sessions.open();
    const [first = ""] = await names();
    const two = await kitty.sessions.open();
    const [, second = ""] = await names();
    await using three = await kitty.sessions.open();
    expect(await names()).toEqual([first, second]);
    expect((await overlayStatus(place.overlay)).holders).toHaveLength(2);
    // Full twice over, the third shares the first one's instance.
    const streams = [one, two, three].map((session) => session.generate(PROMPT, { maxNewTokens: 4000 }));
    const ends = streams.map((stream) => stream.result().then((result) => result.finishReason, String));
    await Promise.all(streams.map((stream) => stream[Symbol.asyncIterator]().next()));
    const record = (await listInstances()).find(({ name }) => name === second);
    for (const pid of findInstanceProcesses(second, record?.process ?? null)) process.kill(pid, "SIGKILL");
    expect(await ends[1]).toMatch(/WorkerExitedError: Cannot go on with the Python worker/);
    await expect(two.generate(PROMPT).result()).rejects.toMatchObject({ name: "WorkerExitedError" });
    for (const stream of [streams[0], streams[2]]) await stream?.cancel();
    expect([await ends[0], await ends[2]]).toEqual(["cancelled", "cancelled"]);
    await expect.poll(names, { timeout: 10_000 }).toEqual([first]);
    const four = await kitty.sessions.open();
    expect((await four.generate(PROMPT, { maxNewTokens: 2 }).result()).usage.completionTokens).toBe(2);
    expect(await names()).toHaveLength(2);
    await four.close();
    await expect.poll(names, { timeout: 10_000 }).toEqual([first]);
    expect((await one.generate(PROMPT, { maxNewTokens: 2 }).result()).usage.completionTokens).toBe(2);
  },
);

test(
  "a session that was saved goes on after its instance was killed, in another one and in a local worker, with the same text",
  { timeout: 120_000 },
  async ({ skip }) => {
    skip(problem !== undefined, problem);
    const kitty = await startKitty();
    const path = join(home.path, "session.kitty");
    const session = await kitty.sessions.open();
    await session.generate(PROMPT, { maxNewTokens: 150 }).result();
    await session.save(path);
    const wanted = await session.generate(" and then", { maxNewTokens: 20 }).result();
    const [killed] = await listInstances();
    for (const pid of findInstanceProcesses(killed?.name ?? "", killed?.process ?? null)) process.kill(pid, "SIGKILL");
    await expect.poll(names, { timeout: 10_000 }).toEqual([]);
    await using local = await Kitty.start();
    for (const place of [kitty, local]) {
      await using resumed = await place.sessions.open({ saved: path });
      expect(resumed.cache).toEqual(session.cache);
      expect((await resumed.generate(" and then", { maxNewTokens: 20 }).result()).text).toBe(wanted.text);
    }
    await expect(kitty.sessions.open({ saved: join(home.path, "none") })).rejects.toMatchObject({
      code: "saved_session_not_found",
    });
    await expect(kitty.sessions.open({ saved: path, cache: {} })).rejects.toMatchObject({ code: "invalid_argument" });
    await expect(kitty.sessions.open({ saved: place.image })).rejects.toMatchObject({ code: "cache_file" });
  },
);

test("an ordinary user's instances leave no FUSE program behind, killed or not", { timeout: 240_000 }, ({ skip }) => {
  skip(problem !== undefined, problem);
  skip(process.getuid?.() !== 0, "this is an ordinary user: all other tests show it");
  const user = ["--reuid=kitty-kv-test", "--regid=kitty-kv-test", "--init-groups"];
  const life = join(import.meta.dirname, "../../fixtures/instance-life.ts");
  const canRun =
    spawnSync("setpriv", [...user, process.execPath, "-e", `require("fs").accessSync("${life}")`]).status === 0;
  skip(!canRun, "the user kitty-kv-test cannot read this checkout or run this Node");
  const state = join(home.path, "of-user");
  mkdirSync(state);
  chmodSync(home.path, 0o755);
  chmodSync(state, 0o777);
  const command = [process.execPath, "--import", "tsx", life, place.image, place.overlay];
  const env = { PATH: process.env["PATH"], HOME: "/home/kitty-kv-test", KITTY_KV_HOME: state };
  const { status, stdout, stderr } = spawnSync("setpriv", [...user, ...command], { env, encoding: "utf8" });
  expect([status, stderr]).toEqual([0, ""]);
  const seen = JSON.parse(stdout) as Record<string, unknown>;
  expect(seen).toMatchObject({ orphans: ["fuse2fs", "squashfuse_ll"], left: 0, folders: 0 });
  expect(seen["before"]).toEqual(expect.arrayContaining(["fuse2fs", "squashfuse_ll"]));
  expect(seen["text"]).not.toBe("");
});
