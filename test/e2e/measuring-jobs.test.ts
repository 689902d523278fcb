import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { expect, onTestFinished, test } from "vitest";
import { Kitty, type JobSpecInput } from "../../src/index.js";
import { packageRoot } from "../../src/runner/package-root.js";
import { temporaryFolder } from "../scripts/temporary-folder.js";
import { whyNoRealWorker } from "../src/real-worker.js";

const CLI = join(import.meta.dirname, "../../dist/cli/main.js");
const HARNESS = join(packageRoot(), ".setup", "lm-eval", "bin", "python");
const reason = whyNoRealWorker();
const ENVIRONMENT = { OMP_NUM_THREADS: "1", HF_DATASETS_OFFLINE: "1", HF_HUB_OFFLINE: "1" };

function folder(): string {
  const temporary = temporaryFolder();
  onTestFinished(() => {
    temporary[Symbol.dispose]();
  });
  return temporary.path;
}

/** Runs a command that a report prints, as a shell does, and gives its document. */
async function repeat(command: string, env: Record<string, string> = {}): Promise<Record<string, unknown>> {
  const ours = [process.execPath, CLI].map((word) => `'${word}'`).join(" ");
  const { stdout } = await execa("sh", ["-c", `${command.replace(/^kitty-kv /, `${ours} `)} --json`], {
    env: { ...ENVIRONMENT, ...env },
  });
  return JSON.parse(stdout) as Record<string, unknown>;
}

test(
  "latencies, verified precision and sensitivity are jobs and sweeps of jobs, in one report whose commands run",
  { timeout: 240_000 },
  async ({ skip }) => {
    skip(reason !== undefined, reason);
    const path = folder();
    await using kitty = await Kitty.start({ config: { jobs: { folder: path } } });
    const small = { sequences: 1, length: 260 };
    const specs: JobSpecInput[] = [
      {
        kind: "sweep",
        params: {
          base: { kind: "latency", params: { shapes: "1x64", newTokens: 6, peers: "hf-dynamic,engine kitty" } },
          matrix: { shapes: ["1x64", "2x64"], preset: ["kitty"] },
        },
      },
      { kind: "simulate", cache: { preset: "kitty" }, params: { ...small, verify: true } },
      { kind: "simulate", cache: { preset: "kivi-2" }, params: { ...small, sensitivity: "layers" } },
    ];
    const jobs = await Promise.all(specs.map((spec) => kitty.jobs.submit(spec)));
    for (const job of jobs) expect(await job.wait()).toMatchObject({ state: "succeeded" });
    const { document, files } = await kitty.jobs.report(jobs.map(({ id }) => id));
    const rows = document.latencies.flatMap(({ rows }) => rows);
    expect(
      rows.map(({ batch, promptTokens, peer }) => `${String(batch)}x${String(promptTokens)} ${String(peer)}`),
    ).toEqual(expect.arrayContaining(["1x64 hf-dynamic", "1x64 engine kitty", "2x64 hf-dynamic", "2x64 engine kitty"]));
    expect(document.simulations).toMatchObject([{ verification: { isEqual: true } }]);
    const [{ sensitivity: layers } = {}] = document.sensitivities;
    expect(layers?.["layers"]).toHaveLength(12);
    for (const title of ["Memory, throughput", "Simulated precisions", "What carries the error of kivi-2"])
      expect(files.html).toContain(title);
    const [verified] = document.simulations;
    expect(await repeat(verified?.command ?? "")).toMatchObject({
      // Sums of floats depend on how many threads there are.
      klDivergence: expect.closeTo(Number(verified?.["klDivergence"]), 8) as number,
      verification: { isEqual: true },
    });
    expect(document.latencies[0]?.command).toContain("kitty-kv bench latency --shapes=1x64");
    const again = (await repeat(document.latencies[0]?.command ?? "")) as { rows: { peer: string }[] };
    expect(again.rows.map(({ peer }) => peer)).toEqual(document.latencies[0]?.rows.map(({ peer }) => peer));
  },
);

const TASK = `
task: kitty_seen
dataset_path: json
test_split: test
output_type: generate_until
doc_to_text: '{{text}}'
doc_to_target: 'The old man'
generation_kwargs: {until: ['.'], max_gen_toks: 12, do_sample: false}
metric_list: [{metric: exact_match}]
filter_list: [{name: begins, filter: [{function: regex, regex_pattern: '(The old man)'}, {function: take_first}]}]
`;

test(
  "a task of lm-evaluation-harness is an eval job and a sweep of them, and its report's command gives the same answers",
  { timeout: 240_000 },
  async ({ skip }) => {
    skip(!existsSync(HARNESS), "there is no .setup/lm-eval: bash scripts/test/install-lm-eval.sh");
    const path = folder();
    const tasks = join(path, "tasks");
    await mkdir(tasks);
    const text = `${"The old man looked at the sea and the sky. ".repeat(50)}He saw it. `;
    await writeFile(join(tasks, "data.jsonl"), `${JSON.stringify({ text })}\n`);
    const data = `dataset_kwargs: {data_files: {test: ${join(tasks, "data.jsonl")}}}\n`;
    await writeFile(join(tasks, "seen.yaml"), TASK + data);
    const env = { ...ENVIRONMENT, HF_HOME: join(path, "hf"), KITTY_KV_HOME: path, KITTY_KV_PYTHON: HARNESS };
    const submit = (input: string) =>
      execa(process.execPath, [CLI, "job", "submit", "-", "--wait", "--json"], { input, env, reject: false });
    const params = `{ tasks: kitty_seen, includePath: ${tasks}, limit: 1, maxNewTokens: 8 }`;
    const made = await submit(
      `kind: sweep\nparams: { base: { kind: eval, params: ${params} }, matrix: { presets: [fp16, kivi-2] } }`,
    );
    const sweep = JSON.parse(made.stdout.trim().split("\n").at(-1) ?? "") as { id: string; state: string };
    expect(sweep.state).toBe("succeeded");
    const report = JSON.parse(await readFile(join(path, "jobs", sweep.id, "report.json"), "utf8")) as {
      evaluations: { commands: string[]; tasks: { preset: string; task: string; againstFp16?: unknown }[] }[];
    };
    const [{ commands, tasks: rows } = { commands: [], tasks: [] }] = report.evaluations;
    expect(rows.map(({ preset, task }) => `${preset} ${task}`)).toEqual(["fp16 kitty_seen", "kivi-2 kitty_seen"]);
    expect(rows[1]?.againstFp16).toMatchObject({ items: 1 });
    const answers = async (command: string, home: string): Promise<string[]> => {
      const { folder } = await repeat(command, { ...env, KITTY_KV_HOME: home });
      const lines = (await readFile(join(String(folder), "items.jsonl"), "utf8")).trim().split("\n");
      return lines.map((line) => (JSON.parse(line) as { text: string }).text);
    };
    const command = commands.find((each) => each.includes("--preset=kivi-2")) ?? "";
    const again = await answers(command, join(path, "again"));
    const { stdout } = await execa("sh", ["-c", `grep -h kivi-2 "$0"/jobs/*/items/items.jsonl`, path]);
    const record = JSON.parse(stdout) as { text: string; packed_bytes: number };
    expect(again).toEqual([record.text]);
    expect(record.packed_bytes).toBeGreaterThan(0);
    // What cannot be is a job that fails once, before a model is loaded.
    const failing = await submit(`kind: eval\nparams: ${params.replace("limit", "metric: exact_mach, limit")}`);
    const wrong = JSON.parse(failing.stdout.trim().split("\n").at(-1) ?? "") as Record<string, unknown>;
    expect(wrong).toMatchObject({ state: "failed", attempt: 1, error: { code: "unknown_metric" } });
    expect(failing.exitCode).toBe(1);
    const slip = await submit("kind: eval\nparams: { tasks: pass-key }");
    expect(slip.exitCode).toBe(2);
    expect(slip.stdout).toContain("unknown_task");
  },
);
