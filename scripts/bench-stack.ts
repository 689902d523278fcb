/**
 * What the whole stack costs: sessions through the SDK and a local worker, beside the same sessions on the engine inside Python.
 * Run: npx tsx scripts/bench-stack.ts [--sessions N] [--new-tokens N] [--rounds N] [--preset P] [--json] [--python FILE]
 * Needs a Python with the packages (.venv, KITTY_KV_PYTHON or --python); exits 1 when the target is missed.
 */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { arch, cpus, loadavg, platform, release } from "node:os";
import { parseArgs } from "node:util";
import { Kitty, PRESET_NAMES, type Session } from "../src/index.js";
import { LocalRunner } from "../src/runner/local-runner.js";
import { packageRoot } from "../src/runner/package-root.js";
import { workerEnvironment } from "../src/runner/worker-environment.js";

const WARM_UP_TOKENS = 8;
const TARGET_PERCENT = 97;
const CLOCK_TICKS_PER_SECOND = 100; // of /proc on every Linux that Node runs on

interface Round {
  tokensPerSecond: number;
  /** Of the process that has the engine, all its threads. */
  processorSeconds: number;
  texts: string[];
}

// Idle threads of OpenMP spin on the core that Node needs.
process.env["OMP_NUM_THREADS"] ??= "1";
const { values } = parseArgs({
  options: {
    sessions: { type: "string", default: "32" },
    "new-tokens": { type: "string", default: "64" },
    rounds: { type: "string", default: "5" },
    preset: { type: "string", default: "kitty-pro" },
    json: { type: "boolean", default: false },
    python: { type: "string" },
  },
});
const newTokens = count("new-tokens");
const rounds = count("rounds");
const preset = PRESET_NAMES.find((name) => name === values.preset);
if (preset === undefined) throw new Error(`--preset must be one of ${PRESET_NAMES.join(", ")}, got ${values.preset}`);
const prompts = Array.from({ length: count("sessions") }, (_, index) => promptOf(index));
const runner = new LocalRunner({
  python: values.python ?? null,
  startTimeoutMs: 60_000,
  engine: [],
  heartbeat: { intervalMs: 5000, timeoutMs: 30_000, stepTimeoutMs: 600_000 },
});
const loadBefore = loadavg()[0] ?? NaN;
// One worker, as there is one engine inside Python.
const pool = { min: 1, max: 1, sessionsPerWorker: prompts.length };
await using kitty = await Kitty.start({ config: { cache: { preset }, pool }, runner });
await throughStack(WARM_UP_TOKENS);
const inside: Round[] = [];
const outside: Round[] = [];
// In turns, so that whatever else the machine does hits both alike.
for (let round = 0; round < rounds; round++) {
  inside.push(insidePython());
  outside.push(await throughStack(newTokens));
}
checkTexts();
report();

/** Distinct prompts of about as many tokens. */
function promptOf(index: number): string {
  return `Chapter ${String(index + 1)}. The ship had been two days at sea when the captain called all hands on deck, and said: `;
}

async function throughStack(tokens: number): Promise<Round> {
  const sessions = await Promise.all(prompts.map(() => kitty.sessions.open()));
  const spentBefore = workerProcessorSeconds();
  const start = performance.now();
  const results = await Promise.all(sessions.map((session, index) => generate(session, prompts[index] ?? "", tokens)));
  const seconds = (performance.now() - start) / 1000;
  const processorSeconds = workerProcessorSeconds() - spentBefore;
  await Promise.all(sessions.map((session) => session.close()));
  const generated = results.reduce((total, { usage }) => total + usage.completionTokens, 0);
  return { tokensPerSecond: generated / seconds, processorSeconds, texts: results.map(({ text }) => text) };
}

async function generate(session: Session, prompt: string, maxNewTokens: number) {
  const stream = session.generate(prompt, { maxNewTokens });
  let text = "";
  for await (const chunk of stream) text += chunk.text;
  const result = await stream.result();
  if (text !== result.text) throw new Error("Cannot trust the figures: the chunks are not the result's text");
  return result;
}

/** What the worker has spent so far, from Linux's /proc; NaN elsewhere. */
function workerProcessorSeconds(): number {
  if (platform() !== "linux") return NaN;
  const main = String(process.pid);
  const children = readFileSync(`/proc/${main}/task/${main}/children`, "utf8").trim().split(" ");
  const worker = children.find((pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("kitty_kv.worker"));
  if (worker === undefined)
    throw new Error(`Cannot find the worker among this process's children ${children.join(", ")}`);
  // The second field, a name in brackets, may contain blanks.
  const [, fields = ""] = /.*\) (.*)/s.exec(readFileSync(`/proc/${worker}/stat`, "utf8")) ?? [];
  const [user = NaN, system = NaN] = fields.split(" ").slice(11, 13).map(Number);
  return (user + system) / CLOCK_TICKS_PER_SECOND;
}

function insidePython(): Round {
  const args = ["-m", "kitty_kv.worker.bench_sessions", "--preset", values.preset, "--new-tokens", String(newTokens)];
  const env = workerEnvironment(packageRoot(), process.env);
  const file = runner.describe().command[0] ?? "";
  const { status, stdout, stderr } = spawnSync(file, args, { env, encoding: "utf8", input: JSON.stringify(prompts) });
  if (status !== 0) throw new Error(`Cannot measure inside Python: exit code ${String(status)}, ${stderr.slice(-500)}`);
  return JSON.parse(stdout) as Round;
}

/** Greedy texts: whoever generates other ones has not done the same work. */
function checkTexts(): void {
  const wanted = JSON.stringify(inside[0]?.texts);
  if ([...inside, ...outside].every(({ texts }) => JSON.stringify(texts) === wanted)) return;
  throw new Error("Cannot trust the figures: not every round has generated the same texts");
}

function report(): void {
  const ratios = outside.map(
    ({ tokensPerSecond }, round) => (tokensPerSecond / (inside[round]?.tokensPerSecond ?? NaN)) * 100,
  );
  const percent = median(ratios);
  const isPass = percent >= TARGET_PERCENT;
  const insideRates = inside.map(({ tokensPerSecond }) => tokensPerSecond);
  const outsideRates = outside.map(({ tokensPerSecond }) => tokensPerSecond);
  const rows = [
    { name: `engine inside Python, median of ${String(rounds)}`, value: median(insideRates), unit: "tokens/s" },
    { name: `the same through the SDK, median of ${String(rounds)}`, value: median(outsideRates), unit: "tokens/s" },
    { name: "spread of the runs inside Python", value: spread(insideRates), unit: "%" },
    { name: "spread of the runs through the SDK", value: spread(outsideRates), unit: "%" },
    { name: "lowest ratio of a round", value: Math.min(...ratios), unit: "%" },
    { name: "highest ratio of a round", value: Math.max(...ratios), unit: "%" },
    // Others on the machine hardly change this; of the worker's threads all count, also what they do beside the engine's.
    {
      name: "processor time, worker over engine inside",
      value: (median(outside.map(spent)) / median(inside.map(spent))) * 100,
      unit: "%",
    },
    // Noise only ever slows down.
    { name: "ratio of the best runs", value: (Math.max(...outsideRates) / Math.max(...insideRates)) * 100, unit: "%" },
    { name: "median ratio", value: percent, unit: "%", target: `>= ${String(TARGET_PERCENT)}`, isPass },
  ];
  const [cpu] = cpus();
  const hardware = `${cpu?.model ?? "unknown CPU"} x ${String(cpus().length)}, ${platform()} ${release()} ${arch()}, Node ${process.version}`;
  const setting = `${String(prompts.length)} sessions, ${String(newTokens)} new tokens each, ${values.preset}, OMP_NUM_THREADS=${process.env["OMP_NUM_THREADS"] ?? ""}, load before ${loadBefore.toFixed(2)}`;
  if (values.json) console.log(JSON.stringify({ hardware, setting, rows }));
  else {
    console.log(`${hardware}\n${setting}`);
    for (const { name, value, unit, target } of rows) {
      const verdict = target === undefined ? "" : `${isPass ? "PASS" : "MISS"} (${target})`;
      console.log(`${name.padEnd(44)}${value.toFixed(1).padStart(12)} ${unit.padEnd(10)}${verdict}`);
    }
  }
  if (!isPass) process.exitCode = 1;
}

function spent({ processorSeconds }: Round): number {
  return processorSeconds;
}

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return ((sorted[middle] ?? NaN) + (sorted[sorted.length - 1 - middle] ?? NaN)) / 2;
}

function spread(numbers: readonly number[]): number {
  return (Math.max(...numbers) / Math.min(...numbers) - 1) * 100;
}

function count(name: "sessions" | "new-tokens" | "rounds"): number {
  const number = Number(values[name]);
  if (Number.isSafeInteger(number) && number >= 1) return number;
  throw new Error(`--${name} must be a whole number >= 1, got ${values[name]}`);
}
