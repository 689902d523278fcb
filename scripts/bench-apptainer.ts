/**
 * What instances cost. Run: npx tsx scripts/bench-apptainer.ts --image SIF --overlay IMG [--squashfs IMG] [--counts 1,4,16]
 *   [--sandbox DIR] [--json]
 * Needs Apptainer, an overlay sealed as ext3, for --squashfs one sealed with it, and for --sandbox a folder that
 * `apptainer build --sandbox DIR SIF` and a copy of the overlay's /opt/kitty made. Exits 1 when a target is missed.
 */
import { spawnSync } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { apptainerProgram } from "../src/apptainer/apptainer.js";
import { WorkerClient } from "../src/bridge/worker-client.js";
import { Kitty, resolveConfig, verifyOverlay, type ConfigInput } from "../src/index.js";
import { createRunner } from "../src/orchestrator/create-runner.js";

const REPEATS = 5;
const ROUND_TRIPS = 3000;
const PYTHON = "/opt/kitty/env/bin/python";
const TARGETS = { readyTimes: 1.5, roundTripTimes: 1.2 };

interface Row {
  name: string;
  value: number;
  unit: string;
  target?: string;
  isPass?: boolean;
}

const { values } = parseArgs({
  options: {
    image: { type: "string" },
    overlay: { type: "string" },
    squashfs: { type: "string" },
    sandbox: { type: "string" },
    counts: { type: "string", default: "1,4,16" },
    json: { type: "boolean" },
  },
});
const { image, overlay } = values;
if (image === undefined || overlay === undefined) throw new TypeError("Cannot measure: give --image and --overlay");
// Sixteen workers on few cores would only fight over them.
process.env["OMP_NUM_THREADS"] = "1";

const overlays = { ext3: overlay, ...(values.squashfs === undefined ? {} : { squashfs: values.squashfs }) };
const rows: Row[] = [...sizes(image, overlays)];
for (const path of Object.values(overlays)) await verifyOverlay(path, { image });
const inside = Object.entries(overlays).map(([name, path]): [string, ConfigInput] => [name, inInstances(path)]);
const [local, ...others] = await startTimes([["local", {}], ...inside]);
if (local === undefined) throw new Error("nothing was measured");
rows.push(...timeRows(local));
for (const times of others) {
  const { name } = times;
  const value = times.readyMs / local.readyMs;
  const target = { target: `<= ${String(TARGETS.readyTimes)}`, isPass: value <= TARGETS.readyTimes };
  rows.push(...timeRows(times), { name: `${name}: ready, in times of local`, value, unit: "x", ...target });
}
for (const count of values.counts.split(",").map(Number)) {
  for (const [name, path] of Object.entries(overlays)) rows.push(...(await many(name, path, count)));
}
if (values.sandbox !== undefined) rows.push(...freshContainers(image, overlays, values.sandbox));
rows.push(...(await roundTrips(overlay)));
for (const path of Object.values(overlays)) await verifyOverlay(path, { image });
rows.push({ name: "overlays whose hash is what it was", value: Object.keys(overlays).length, unit: "" });
report(rows);

function inInstances(path: string): ConfigInput {
  return { runner: "apptainer", apptainer: { image: image ?? null, overlay: path } };
}

function sizes(sif: string, paths: Readonly<Record<string, string>>): Row[] {
  const onDisk = (path: string): number => (statSync(path).blocks * 512) / 2 ** 20;
  const found = Object.entries(paths).map(([name, path]) => ({ name: `${name} overlay`, value: onDisk(path) }));
  return [{ name: "image", value: onDisk(sif) }, ...found].map((row) => ({ ...row, unit: "MiB on disk" }));
}

interface StartTimes {
  helloMs: number;
  readyMs: number;
}

interface PlaceTimes extends StartTimes {
  name: string;
}

/**
 * From nothing to a worker that said hello, and to one that has imported everything; medians, files in the page cache.
 * All places in turns, so that what else the machine does meets each of them.
 */
async function startTimes(places: readonly [string, ConfigInput][]): Promise<PlaceTimes[]> {
  const found = new Map<string, StartTimes[]>(places.map(([name]) => [name, []]));
  for (let repeat = 0; repeat <= REPEATS; repeat++) {
    for (const [name, config] of places) {
      const times = await startOne(config);
      // The first one fills the page cache.
      if (repeat > 0) found.get(name)?.push(times);
    }
  }
  return [...found].map(([name, times]) => ({
    name,
    helloMs: median(times.map(({ helloMs }) => helloMs)),
    readyMs: median(times.map(({ readyMs }) => readyMs)),
  }));
}

async function startOne(config: ConfigInput): Promise<StartTimes> {
  const runner = createRunner(resolveConfig(config));
  try {
    const start = performance.now();
    const worker = await runner.startWorker();
    const helloMs = performance.now() - start;
    await worker.ready;
    return { helloMs, readyMs: performance.now() - start };
  } finally {
    await runner.stop();
  }
}

function timeRows({ name, helloMs, readyMs }: PlaceTimes): Row[] {
  return [
    { name: `${name}: worker says hello`, value: helloMs, unit: "ms" },
    { name: `${name}: worker is ready`, value: readyMs, unit: "ms" },
  ];
}

/** Cold start to first token of as many instances at once, and what memory they share. */
async function many(name: string, path: string, count: number): Promise<Row[]> {
  const start = performance.now();
  const pool = { min: count, max: count, sessionsPerWorker: 1 };
  await using kitty = await Kitty.start({ config: { ...inInstances(path), pool } });
  const firstTokensMs = await Promise.all(
    Array.from({ length: count }, async () => {
      const session = await kitty.sessions.open();
      await session.generate("Once upon a time", { maxNewTokens: 1 }).result();
      return performance.now() - start;
    }),
  );
  const { rssMiB, pssMiB } = workerMemory();
  const label = `${name}, ${String(count)} instances`;
  return [
    { name: `${label}: first token, median`, value: median(firstTokensMs), unit: "ms" },
    { name: `${label}: first token, last`, value: Math.max(...firstTokensMs), unit: "ms" },
    { name: `${label}: resident a worker`, value: rssMiB / count, unit: "MiB" },
    { name: `${label}: its own and its part of what is shared`, value: pssMiB / count, unit: "MiB" },
  ];
}

/** Of all workers that run in instances now. */
function workerMemory(): { rssMiB: number; pssMiB: number } {
  const { stdout } = spawnSync("pgrep", ["-f", `^${PYTHON} -m kitty_kv.worker`], { encoding: "utf8" });
  const total = { rssMiB: 0, pssMiB: 0 };
  for (const pid of stdout.trim().split("\n")) {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
    const mib = (field: string): number => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(text)?.[1]) / 1024;
    total.rssMiB += mib("Rss");
    total.pssMiB += mib("Pss");
  }
  return total;
}

/** A container that imports torch and Transformers and ends: image and overlay as files, and both as folders. */
function freshContainers(sif: string, paths: Readonly<Record<string, string>>, sandbox: string): Row[] {
  const kinds = Object.entries(paths).map(([name, path]): [string, string[]] => [
    name,
    ["--overlay", `${path}:ro`, sif],
  ]);
  return [...kinds, ["sandbox folder", [sandbox]] as const].map(([name, place]) => {
    const times = Array.from({ length: REPEATS + 1 }, () => {
      const start = performance.now();
      const args = ["exec", "--containall", ...place, PYTHON, "-c", "import torch, transformers"];
      const { status, stderr } = spawnSync(apptainerProgram(undefined), args, { encoding: "utf8" });
      if (status !== 0) throw new Error(`Cannot import in ${name}: ${stderr}`);
      return performance.now() - start;
    });
    return { name: `${name}: a container imports torch and Transformers`, value: median(times.slice(1)), unit: "ms" };
  });
}

/** In turns, so that what else the machine does meets both alike. */
async function roundTrips(path: string): Promise<Row[]> {
  const runners = [createRunner(resolveConfig()), createRunner(resolveConfig(inInstances(path)))];
  try {
    const clients = await Promise.all(runners.map(async (runner) => new WorkerClient(await runner.startWorker())));
    await Promise.all(clients.map(({ bridge }) => bridge.ready));
    const timesUs = clients.map((): number[] => []);
    for (let trip = -500; trip < ROUND_TRIPS; trip++) {
      for (const [index, client] of clients.entries()) {
        const start = performance.now();
        await client.benchEcho("x");
        if (trip >= 0) timesUs[index]?.push((performance.now() - start) * 1000);
      }
    }
    const [outside = NaN, inside = NaN] = timesUs.map(median);
    const value = inside / outside;
    const target = { target: `<= ${String(TARGETS.roundTripTimes)}`, isPass: value <= TARGETS.roundTripTimes };
    return [
      { name: "local: round trip p50", value: outside, unit: "us" },
      { name: "instance: round trip p50", value: inside, unit: "us" },
      { name: "round trip, in times of local", value, unit: "x", ...target },
    ];
  } finally {
    await Promise.all(runners.map((runner) => runner.stop()));
  }
}

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? NaN;
}

function report(found: readonly Row[]): void {
  const hardware = `${cpus()[0]?.model ?? "?"}, ${String(cpus().length)} cores, user ${String(process.getuid?.())}`;
  if (values.json === true) console.log(JSON.stringify({ hardware, rows: found }));
  else {
    console.log(hardware);
    for (const { name, value, unit, target = "", isPass } of found) {
      const verdict = isPass === undefined ? "" : isPass ? "  ok" : "  MISSED";
      console.log(`${name.padEnd(60)} ${value.toFixed(value < 10 ? 2 : 0).padStart(9)} ${unit} ${target}${verdict}`);
    }
  }
  if (found.some(({ isPass }) => isPass === false)) process.exitCode = 1;
}
