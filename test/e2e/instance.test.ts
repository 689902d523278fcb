import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, expect, test } from "vitest";
import { temporaryFolder } from "../scripts/temporary-folder.js";
import { instancesProblem, ownTestOverlay } from "../src/apptainer/test-overlay.js";

const CLI = join(import.meta.dirname, "../../dist/cli/main.js");
const problem = instancesProblem();
const home = temporaryFolder();
let place: string[];
let overlay: string;

beforeAll(async () => {
  if (problem !== undefined) return;
  const own = await ownTestOverlay(home.path);
  overlay = own.overlay;
  place = ["--image", own.image, "--overlay", overlay];
}, 600_000);

afterAll(async () => {
  await kitty(["instance", "stop", "--all"]);
  home[Symbol.dispose]();
});

async function kitty(args: string[], env: Record<string, string> = {}) {
  const options = { reject: false, env: { KITTY_KV_HOME: home.path, ...env } } as const;
  const { exitCode, stdout, stderr } = await execa(process.execPath, [CLI, ...args], options);
  return { exitCode, stdout, stderr };
}

async function json(args: string[]): Promise<Record<string, unknown>> {
  const { stdout, stderr, exitCode } = await kitty([...args, "--json"]);
  expect({ exitCode, stderr: exitCode === 0 ? "" : stderr }).toEqual({ exitCode: 0, stderr: "" });
  return JSON.parse(stdout) as Record<string, unknown>;
}

async function sha256(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return hash.digest("hex");
}

test.each<[string[], string]>([
  [["instance", "start"], "give --image and --overlay"],
  [["instance", "start", "--image", "a:b", "--overlay", "o"], 'Cannot use "a:b" as an image'],
  [["instance", "start", "--image", "a", "--overlay", "o", "--count", "0"], "--count must be a whole number >= 1"],
  [["instance", "start", "--image", "a", "--overlay", "o", "--network", "bridge"], "--network must be none or host"],
  [["instance", "stop"], "name them, or give --all"],
  [["instance", "stop", "*"], 'Cannot use "*" as an instance'],
  [["instance", "logs", "kitty-0123456789ab;reboot"], "as an instance"],
  [["generate", "hello", "--runner", "apptainer"], "apptainer.image and apptainer.overlay must be set"],
  [["generate", "hello", "--runner", "aptainer"], "runner must be one of local, apptainer, slurm"],
])("kitty-kv %j is refused in one sentence", async (args, message) => {
  const { exitCode, stdout, stderr } = await kitty(args);
  expect(stderr).toContain(message);
  expect(stderr).toMatch(/^Cannot [^\n]+\n?$/);
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
});

test("without Apptainer an instance is refused with the remedy, and a local worker is not touched by it", async ({
  skip,
}) => {
  skip(problem !== undefined, problem);
  const { exitCode, stdout } = await kitty(["instance", "start", ...place, "--json"], { PATH: home.path });
  expect(exitCode).toBe(1);
  expect(JSON.parse(stdout)).toMatchObject({ error: { code: "apptainer_not_found" } });
  expect(await json(["instance", "list"])).toEqual({ instances: [] });
});

test(
  "instances start, are listed by another process, serve a generation, keep logs and stop; the overlay stays as it was",
  { timeout: 180_000 },
  async ({ skip }) => {
    skip(problem !== undefined, problem);
    const before = await sha256(overlay);
    const started = (await json(["instance", "start", ...place, "--count", "2"])) as { instances: { name: string }[] };
    const names = started.instances.map(({ name }) => name);
    const listed = (await json(["instance", "list"])) as { instances: { name: string; state: string }[] };
    expect(listed.instances.map(({ name, state }) => `${name} ${state}`).sort()).toEqual(
      names.map((name) => `${name} ready`).sort(),
    );
    const options = ["--max-new-tokens", "8", "--seed", "1"];
    const inside = await json(["generate", "Once upon a time", "--runner", "apptainer", ...place, ...options]);
    const outside = await json(["generate", "Once upon a time", ...options]);
    expect(inside).toMatchObject({ finishReason: "length", completionTokens: 8, text: outside["text"] });
    const refused = await kitty(["overlay", "seal", overlay]);
    expect(refused.stderr).toMatch(/is being read \(run instance kitty-/);
    const [name = ""] = names;
    const logs = await kitty(["instance", "logs", name]);
    expect(logs.stdout).toContain("a worker answered");
    expect(await json(["instance", "stop", name])).toEqual({ stopped: [name] });
    expect((await kitty(["instance", "logs", name, "--json"])).stdout).toContain("instance_not_found");
    await json(["instance", "stop", "--all"]);
    expect(await json(["instance", "list"])).toEqual({ instances: [] });
    expect(await sha256(overlay)).toBe(before);
  },
);
