/**
 * How fast the bridge is. Run: npx tsx scripts/bench-bridge.ts [--json] [--python FILE]
 * Needs a Python with the packages (.venv, KITTY_KV_PYTHON or --python); exits 1 when a target is missed.
 */
import { spawnSync } from "node:child_process";
import { arch, cpus, platform, release } from "node:os";
import { parseArgs } from "node:util";
import { WorkerClient } from "../src/bridge/worker-client.js";
import { CREDIT_WINDOW_TOKENS } from "../src/orchestrator/generation-stream.js";
import { LocalRunner } from "../src/runner/local-runner.js";
import { packageRoot } from "../src/runner/package-root.js";
import { workerEnvironment } from "../src/runner/worker-environment.js";

const ROUND_TRIPS = 5000;
const ROUNDS = 8;
const GENERATED_TOKENS = 3000;
let streamCount = 0;
const TARGETS = { roundTripP50Us: 150, eventsPerSecond: 50_000, overheadPercent: 3 };

interface Row {
  name: string;
  value: number;
  unit: string;
  target?: string;
  isPass?: boolean;
}

// The measured model gains nothing from more threads, and idle ones of OpenMP spin on the core that Node needs.
process.env["OMP_NUM_THREADS"] = "1";
const { values } = parseArgs({ options: { json: { type: "boolean" }, python: { type: "string" } } });
const runner = new LocalRunner({
  python: values.python ?? null,
  startTimeoutMs: 60_000,
  engine: [],
  heartbeat: { intervalMs: 5000, timeoutMs: 30_000, stepTimeoutMs: 600_000 },
});
try {
  const client = new WorkerClient(await runner.startWorker());
  await client.bridge.ready;
  report([...(await roundTrips(client)), ...(await pushes(client)), ...(await overhead(client))]);
} finally {
  await runner.stop();
}

async function roundTrips(client: WorkerClient): Promise<Row[]> {
  for (let i = 0; i < 500; i++) await client.benchEcho("warm");
  const timesUs: number[] = [];
  for (let i = 0; i < ROUND_TRIPS; i++) {
    const start = performance.now();
    await client.benchEcho("x");
    timesUs.push((performance.now() - start) * 1000);
  }
  timesUs.sort((a, b) => a - b);
  const p50 = timesUs[Math.floor(ROUND_TRIPS * 0.5)] ?? NaN;
  const p99 = timesUs[Math.floor(ROUND_TRIPS * 0.99)] ?? NaN;
  const limit = TARGETS.roundTripP50Us;
  return [
    { name: "round trip p50", value: p50, unit: "us", target: `<= ${String(limit)}`, isPass: p50 <= limit },
    { name: "round trip p99", value: p99, unit: "us" },
  ];
}

async function pushes(client: WorkerClient): Promise<Row[]> {
  const rows: Row[] = [];
  await push(client, 1, 20_000);
  for (const streams of [1, 8, 32]) {
    const { tokensPerSecond } = await push(client, streams, 200_000);
    rows.push({ name: `tokens pushed, ${String(streams)} streams`, value: tokensPerSecond, unit: "/s" });
  }
  const limit = TARGETS.eventsPerSecond;
  const slowest = Math.min(...rows.map(({ value }) => value));
  const isPass = slowest >= limit;
  return [
    ...rows,
    { name: "small events, slowest of these", value: slowest, unit: "/s", target: `>= ${String(limit)}`, isPass },
  ];
}

async function push(client: WorkerClient, streams: number, total: number): Promise<{ tokensPerSecond: number }> {
  let received = 0;
  const start = performance.now();
  const emit = async (): Promise<void> => {
    const stream = `bench-${String(++streamCount)}`;
    const params = { stream, events: total / streams, text: "tok ", tokensPerSecond: null };
    await client.benchEmit(params, (_text, tokens) => (received += tokens));
  };
  await Promise.all(Array.from({ length: streams }, emit));
  if (received !== total)
    throw new Error(`Cannot trust the figures: ${String(total)} tokens sent, ${String(received)} received`);
  return { tokensPerSecond: total / ((performance.now() - start) / 1000) };
}

/** The same generation through the bridge and inside Python, in turns; the best of each, since noise only ever slows down. */
async function overhead(client: WorkerClient): Promise<Row[]> {
  await generateOverBridge(client, 64);
  const insideRuns: number[] = [];
  const outsideRuns: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    insideRuns.push(generateInside());
    outsideRuns.push(await generateOverBridge(client, GENERATED_TOKENS));
  }
  const inside = Math.max(...insideRuns);
  const outside = Math.max(...outsideRuns);
  const spread = (inside / Math.min(...insideRuns) - 1) * 100;
  const percent = (inside / outside - 1) * 100;
  const limit = TARGETS.overheadPercent;
  return [
    { name: `generation inside Python, best of ${String(ROUNDS)}`, value: inside, unit: "tokens/s" },
    { name: `the same over the bridge, best of ${String(ROUNDS)}`, value: outside, unit: "tokens/s" },
    {
      name: "spread of the runs inside Python",
      value: spread,
      unit: "% (the overhead below is only as good as this is small)",
    },
    { name: "overhead", value: percent, unit: "%", target: `<= ${String(limit)}`, isPass: percent <= limit },
  ];
}

async function generateOverBridge(client: WorkerClient, tokens: number): Promise<number> {
  const stream = `bench-${String(++streamCount)}`;
  const start = performance.now();
  let unreported = 0;
  await new Promise((resolve, reject) => {
    const onTokens = (_text: string, count: number): void => {
      unreported += count;
      if (unreported < CREDIT_WINDOW_TOKENS / 4) return;
      client.credit(stream, unreported).catch(reject);
      unreported = 0;
    };
    const params = { stream, tokens, tokensPerSecond: null, credit: CREDIT_WINDOW_TOKENS };
    client.benchGenerate(params, { onTokens, onResult: resolve, onError: reject }).catch(reject);
  });
  return tokens / ((performance.now() - start) / 1000);
}

function generateInside(): number {
  const args = ["-m", "kitty_kv.worker.bench_inside", "--tokens", String(GENERATED_TOKENS)];
  const env = workerEnvironment(packageRoot(), process.env);
  const { status, stdout, stderr } = spawnSync(runner.describe().command[0] ?? "", args, { env, encoding: "utf8" });
  if (status !== 0) throw new Error(`Cannot measure inside Python: exit code ${String(status)}, ${stderr.slice(-500)}`);
  return (JSON.parse(stdout) as { tokensPerSecond: number }).tokensPerSecond;
}

function report(rows: readonly Row[]): void {
  const [cpu] = cpus();
  const hardware = `${cpu?.model ?? "unknown CPU"} x ${String(cpus().length)}, ${platform()} ${release()} ${arch()}, Node ${process.version}`;
  if (values.json === true) {
    console.log(JSON.stringify({ hardware, rows }));
  } else {
    console.log(hardware);
    for (const { name, value, unit, target, isPass } of rows) {
      const verdict = target === undefined ? "" : `${isPass === true ? "PASS" : "MISS"} (${target})`;
      console.log(`${name.padEnd(44)}${value.toFixed(1).padStart(12)} ${unit.padEnd(10)}${verdict}`);
    }
  }
  if (rows.some(({ isPass }) => isPass === false)) process.exitCode = 1;
}
