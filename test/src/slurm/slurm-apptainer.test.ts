import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Kitty, type ConfigInput } from "../../../src/index.js";
import { instanceHome } from "../apptainer/test-overlay.js";
import { whyNoRealWorker } from "../real-worker.js";
import { testCluster } from "./test-cluster.js";

const { problem: noInstances, home, place } = instanceHome();
const cluster = testCluster({ nodes: 4 });
const problem = cluster.problem ?? noInstances ?? whyNoRealWorker();

beforeAll(() => {
  vi.stubEnv("OMP_NUM_THREADS", "1");
});
afterAll(() => {
  home[Symbol.dispose]();
});

function config(): ConfigInput {
  return {
    runner: "slurm",
    apptainer: { ...place },
    jobs: { folder: join(home.path, "state") },
    // A whole node each, so that four tasks run on four nodes.
    slurm: { cpus: 4, pollMinMs: 500, pollMaxMs: 2000 },
    worker: { startTimeoutMs: 240_000 },
  };
}

test("a sweep runs as an array across four nodes in instances on one read-only overlay; a session runs there through srun", async ({
  skip,
}) => {
  skip(problem !== undefined, problem);
  await using kitty = await Kitty.start({ config: config() });
  const base = { kind: "generate", params: { prompts: ["Once upon a time"], maxNewTokens: 4 } };
  const sweep = await kitty.jobs.submit({
    kind: "sweep",
    params: { base, matrix: { preset: ["fp16", "kivi-2", "kitty", "kitty-pro"] } },
  });
  const { figures } = await sweep.result();
  const children = figures["children"] as { id: string; state: string; figures: object }[];
  for (const child of children) expect(child).toMatchObject({ state: "succeeded", figures: { completionTokens: 4 } });
  expect(children).toHaveLength(4);
  const logs = await Promise.all(children.map(async ({ id }) => (await (await kitty.jobs.get(id)).logs()).text));
  expect(new Set(logs.map((text) => /begins on (n\d)/.exec(text)?.[1]))).toEqual(new Set(["n1", "n2", "n3", "n4"]));
  await using session = await kitty.sessions.open({ cache: { preset: "kitty" } });
  const result = await session.generate("Once upon a time", { maxNewTokens: 4 }).result();
  expect(result).toMatchObject({ finishReason: "length", usage: { completionTokens: 4 } });
  const saved = join(home.path, "saved.kitty");
  await session.save(saved);
  await using again = await kitty.sessions.open({ saved });
  expect((await again.memory()).tokens).toBe((await session.memory()).tokens);
}, 600_000);

test("simulations and latencies run on nodes in containers, and a sweep's report is written in one", async ({
  skip,
}) => {
  skip(problem !== undefined, problem);
  await using kitty = await Kitty.start({ config: config() });
  const base = { kind: "simulate", params: { length: 64 } };
  const sweep = await kitty.jobs.submit({ kind: "sweep", params: { base, matrix: { preset: ["kitty", "kivi-2"] } } });
  const latency = await kitty.jobs.submit({
    ...{ kind: "latency", cache: { preset: "kitty" } },
    params: { parts: "step", peers: "engine kitty", newTokens: 6 },
  });
  const { files } = await sweep.result();
  expect(files.map(({ name }) => name)).toEqual(expect.arrayContaining(["children.json", "report.html"]));
  expect((await latency.result()).figures["rows"]).toMatchObject([{ peer: "engine kitty" }]);
  expect((await latency.logs()).text).toMatch(/begins on n[1-4]/);
}, 600_000);
