// What Slurm costs us, on the cluster of scripts/test/slurm-cluster.sh. Run as root, built (npx tsup):
//   scripts/test/slurm-cluster.sh up /tmp/cluster && SLURM_CONF=/tmp/cluster/slurm.conf npx tsx scripts/bench-slurm.ts
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync, chmodSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Kitty, resolveConfig, type ConfigInput } from "../src/index.js";
import { launchWorker } from "../src/runner/launch-worker.js";
import { SlurmFollower } from "../src/runner/slurm-follower.js";
import { SlurmQueue } from "../src/runner/slurm-queue.js";
import { SlurmRunner } from "../src/runner/slurm-runner.js";
import { pythoniaDir } from "../src/bridge/pythonia.js";
import { workerLimits } from "../src/runner/worker-limits.js";
import { slurmEnvironment } from "../src/slurm/slurm-environment.js";
import { SEPARATOR } from "../src/slurm/records.js";

const TASKS = Number(process.env["TASKS"] ?? 1000);
const FOLLOWED = 10_000;
const RUNNING = 500;
const python = join(import.meta.dirname, "../test/fixtures/workers/good_worker.py");

// A task of no work, so that what is measured is Slurm and us: it leaves its outcome by itself.
const EMPTY_TASK = `#!/bin/bash
{{directives}}
if false; then
{{command}}
fi
batch=$(basename "$PWD") index=\${SLURM_ARRAY_TASK_ID:-0}
IFS=',' read -ra folders < tasks.json
folder=$(tr -d '[]"' <<< "\${folders[$index]}")
end='{"kind":"succeeded","figures":{},"files":[]}'
printf '{"batch":"%s","index":%s,"end":%s}' "$batch" "$index" "$end" > "$folder/slurm/outcome.new"
mv "$folder/slurm/outcome.new" "$folder/slurm/outcome.json"
echo "$index" >> notices
`;

function configOf(folder: string, slurm: ConfigInput["slurm"] = {}): ConfigInput {
  return { runner: "slurm", worker: { python }, jobs: { folder }, slurm: { container: "none", ...slurm } };
}

async function measureArray(folder: string): Promise<object> {
  const template = join(folder, "empty.sh");
  writeFileSync(template, EMPTY_TASK);
  const bin = countingCommands(folder);
  const { PATH = "" } = process.env;
  process.env["PATH"] = `${bin}:${PATH}`;
  await using kitty = await Kitty.start({ config: configOf(folder, { template }) });
  const startMs = Date.now();
  const sweep = await kitty.jobs.submit({
    kind: "sweep",
    params: {
      base: { kind: "generate" },
      matrix: { maxNewTokens: Array.from({ length: TASKS }, (_, index) => index + 1) },
    },
  });
  await sweep.wait();
  const endMs = Date.now();
  process.env["PATH"] = PATH;
  const jobs = readdirSync(join(folder, "jobs")).map((id) => join(folder, "jobs", id, "slurm", "outcome.json"));
  const last = Math.max(...jobs.map((path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0));
  const count = (name: string): number => statSync(join(bin, `${name}.calls`), { throwIfNoEntry: false })?.size ?? 0;
  return {
    tasks: TASKS,
    sbatchCalls: count("sbatch"),
    squeueCalls: count("squeue"),
    sacctCalls: count("sacct"),
    slurmSeconds: (last - startMs) / 1000,
    seenSeconds: (endMs - startMs) / 1000,
  };
}

/** Slurm's commands, each with a byte a call in a file beside it; sbatch --test-only is no submission. */
function countingCommands(folder: string): string {
  const bin = join(folder, "bin");
  mkdirSync(bin);
  for (const name of ["sbatch", "squeue", "sacct"]) {
    const path = join(bin, name);
    writeFileSync(
      path,
      `#!/bin/bash\n[ "$1" = --test-only ] || printf x >> ${path}.calls\nexec /usr/bin/${name} "$@"\n`,
    );
    chmodSync(path, 0o755);
  }
  return bin;
}

/** A squeue that answers with so many jobs. */
function recordedQueue(folder: string): string {
  const bin = join(folder, "recorded");
  mkdirSync(bin);
  const record = (index: number): string => {
    const isRunning = index < RUNNING;
    const state = isRunning ? ["RUNNING", "None"] : ["PENDING", "Priority"];
    const own = [
      String(index + 5),
      "5",
      String(index),
      ...state,
      "0",
      "N/A",
      "2026-11-26T23:59:56",
      isRunning ? "n1" : "",
    ];
    return [...own, "kitty-kv-bench", "kitty-kv-bench", "\n"].join(SEPARATOR);
  };
  writeFileSync(join(bin, "queue"), Array.from({ length: FOLLOWED }, (_, index) => record(index)).join(""));
  writeFileSync(join(bin, "squeue"), `#!/bin/sh\nexec cat ${join(bin, "queue")}\n`);
  chmodSync(join(bin, "squeue"), 0o755);
  return bin;
}

/** A process's share of a core while it follows jobs of which some run; squeue's own time is not ours, and is not in it. */
async function measureFollowing(folder: string): Promise<object> {
  const bin = recordedQueue(folder);
  const { PATH = "" } = process.env;
  process.env["PATH"] = `${bin}:${PATH}`;
  const { slurm } = resolveConfig(configOf(folder));
  const queue = new SlurmQueue();
  const follower = new SlurmFollower({ slurm, queue, onTrouble: console.error });
  const hooks = { onBegin: () => undefined, onProgress: () => undefined, onLog: () => undefined };
  for (let index = 0; index < FOLLOWED; index++) {
    const placement = {
      batch: "kitty-kv-bench",
      batchFolder: bin,
      index,
      tasks: FOLLOWED,
      jobId: "5",
      id: `5_${String(index)}`,
      submittedMs: 0,
    };
    void follower.follow(placement, join(folder, "none"), hooks);
  }
  const seconds = 60;
  await sleep(4000);
  const [before, callsBefore] = [process.cpuUsage(), queue.calls.squeue];
  await sleep(seconds * 1000);
  const { user, system } = process.cpuUsage(before);
  const calls = queue.calls.squeue - callsBefore;
  for (let index = 0; index < FOLLOWED; index++) follower.forget(`5_${String(index)}`);
  process.env["PATH"] = PATH;
  return {
    jobs: FOLLOWED,
    running: RUNNING,
    seconds,
    squeueCalls: calls,
    shareOfACore: (user + system) / 1e6 / seconds,
  };
}

/** The first session's worker against the same worker behind `srun` alone, and one more in the same allocation. */
async function measureSessions(folder: string): Promise<object> {
  const config = resolveConfig(configOf(folder, { workersPerAllocation: 2 }));
  const [alone, first, more]: [number[], number[], number[]] = [[], [], []];
  for (let round = 0; round < 5; round++) {
    let startMs = performance.now();
    const env = slurmEnvironment(process.env);
    const args = ["--quiet", "--ntasks=1", python, "-m", "kitty_kv.worker", "--pythonia", pythoniaDir()];
    const bridge = await launchWorker({ file: "srun", args, env }, workerLimits(config.worker), {});
    alone.push(performance.now() - startMs);
    await bridge.stop({ graceMs: 5000, killAfterMs: 2000 });
    const runner = new SlurmRunner(config, folder);
    startMs = performance.now();
    await runner.startWorker();
    first.push(performance.now() - startMs);
    startMs = performance.now();
    await runner.startWorker();
    more.push(performance.now() - startMs);
    await runner.stop();
    await sleep(2000);
  }
  const median = (values: number[]): number => Math.round([...values].sort((a, b) => a - b)[2] ?? NaN);
  return { srunAloneMs: median(alone), firstWorkerMs: median(first), nextWorkerMs: median(more) };
}

const parts = { array: measureArray, following: measureFollowing, sessions: measureSessions };
const wanted = process.argv.slice(2);
for (const [name, measure] of Object.entries(parts)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  const folder = mkdtempSync(join(tmpdir(), "kitty-kv-bench-"));
  console.log(JSON.stringify({ part: name, ...(await measure(folder)) }));
  rmSync(folder, { recursive: true, force: true });
}
