import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { loadConfig, resolveConfig } from "../../../src/config/load.js";
import { ConfigError } from "../../../src/errors.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "kitty-kv-config-"));
});
afterAll(() => rm(folder, { recursive: true }));

async function load(content: string | Buffer) {
  const path = join(folder, `${String(Math.random())}.yaml`);
  await writeFile(path, content);
  return { path, loading: loadConfig(path) };
}

test("the files in configs/ are valid, and local.yaml says the defaults", async () => {
  const configs = join(import.meta.dirname, "../../../configs");
  expect(await loadConfig(join(configs, "local.yaml"))).toEqual(resolveConfig());
  const { runner, pool, apptainer } = await loadConfig(join(configs, "apptainer.yaml"));
  expect({ runner, pool, network: apptainer.network }).toMatchObject({
    runner: "apptainer",
    pool: { min: 1, max: 4 },
    network: "none",
  });
  const cluster = await loadConfig(join(configs, "slurm.yaml"));
  expect(cluster).toMatchObject({ runner: "slurm", slurm: { timeLimitMinutes: 60, container: "apptainer" } });
});

test("an account that YAML reads as a number is a name", () => {
  expect(resolveConfig({ slurm: { account: 1234, partition: "gpu" } }).slurm).toMatchObject({ account: "1234" });
  expect(() => resolveConfig({ slurm: { nodes: 2 } })).toThrow("slurm.nodes must be 1 (a job runs on one node");
  expect(() => resolveConfig({ slurm: { accont: "x" } as never })).toThrow('did you mean "account"?');
});

test("a pool's limit is its minimum unless it is given, and never below it", () => {
  expect(resolveConfig({ pool: { min: 3 } }).pool).toMatchObject({ min: 3, max: 3 });
  expect(() => resolveConfig({ pool: { min: 3, max: 2 } })).toThrow("pool.max must be >= min, 3, got 2");
});

test("an empty file is the default configuration", async () => {
  const config = await (await load("# nothing\n")).loading;
  expect(config).toEqual(resolveConfig());
  expect(config).toMatchObject({
    model: null,
    cache: { preset: "kitty-pro" },
    runner: "local",
    server: { port: 7717 },
  });
});

test("what a file says stands, and the rest has defaults", async () => {
  const text = "cache:\n  preset: kitty\n  sinkTokens: 16\nworker: { stepTimeoutMs: 5 }\n";
  const config = await (await load(text)).loading;
  expect(config.cache).toEqual({ preset: "kitty", sinkTokens: 16 });
  expect(config.worker).toMatchObject({ stepTimeoutMs: 5, heartbeatIntervalMs: 5000 });
});

test("a configuration is frozen to its leaves", () => {
  const config = resolveConfig({ cache: { kBits: 4 } });
  expect([config, config.cache, config.worker, config.server].every((part) => Object.isFrozen(part))).toBe(true);
});

test.each([
  [
    "prest: kitty\n",
    '(line 1): unknown key "prest", known keys are model, cache, runner, worker, pool, apptainer, slurm, server',
  ],
  ["cache:\n  kBits: 2\n  prest: kitty\n", '(line 3): unknown key "prest", did you mean "preset"?'],
  ["model: null\nworkers: {}\n", '(line 2): unknown key "workers", did you mean "worker"?'],
  [
    "worker:\n  dtype: float31\n",
    '(line 2): worker.dtype must be one of auto, float32, bfloat16, float16, got "float31", did you mean "float32"?',
  ],
  ["cache: { kBits: -1 }\n", "(line 1): cache.kBits must be >= 1, got -1"],
  ["worker: { kvMemoryMiB: 0 }\n", "(line 1): worker.kvMemoryMiB must be > 0, got 0"],
  ["cache: { sinkTokens: 1.5 }\n", "(line 1): cache.sinkTokens must be a whole number, got 1.5"],
  ["server: { port: 70000 }\n", "(line 1): server.port must be <= 65535, got 70000"],
  ["\ncache: 5\n", "(line 2): cache must be an object, got 5"],
  ["- a\n- b\n", ': it must be an object, got ["a","b"]'],
  ["model: a\nmodel: b\n", "(line 2): Map keys must be unique"],
  ["cache: {\n", "(line 2): "],
])("loadConfig() of %j says where and what is wrong", async (text, message) => {
  const { path, loading } = await load(text);
  await expect(loading).rejects.toBeInstanceOf(ConfigError);
  await expect(loading).rejects.toThrow(`Cannot read config ${JSON.stringify(path)}`);
  await expect(loading).rejects.toThrow(message);
});

test("an unknown preset has its own code, a suggestion and the list", async () => {
  const { loading } = await load("cache:\n  preset: kity-pro\n");
  await expect(loading).rejects.toMatchObject({
    code: "unknown_preset",
    message: expect.stringContaining(
      'unknown preset "kity-pro", did you mean "kitty-pro"? The presets are fp16, kivi-2, kivi-2-sink, kitty, kitty-pro, kitty-q, kitty-q-pro',
    ) as string,
    details: { path: "cache.preset", suggestion: "kitty-pro" },
  });
});

test("a file that is missing or not UTF-8 is named", async () => {
  await expect(loadConfig(join(folder, "none.yaml"))).rejects.toThrow(
    /Cannot read config ".*none.yaml": ENOENT.*check the path/,
  );
  await expect((await load(Buffer.from([0x61, 0xff]))).loading).rejects.toThrow(
    "it is not UTF-8 text, save it as UTF-8",
  );
});

test("a key that would reach the prototype is an unknown key", async () => {
  await expect((await load("__proto__: { polluted: 1 }\n")).loading).rejects.toThrow('unknown key "__proto__"');
  expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
});
