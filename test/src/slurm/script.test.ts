import { spawnSync } from "node:child_process";
import { chmodSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { resolveConfig } from "../../../src/config/load.js";
import { previewSlurm } from "../../../src/orchestrator/jobs/preview-slurm.js";
import { needsOf, taskScript } from "../../../src/runner/slurm-request.js";
import { batchScript, missingFile } from "../../../src/slurm/batch-script.js";
import { quoteForDirective, quoteForShell } from "../../../src/slurm/quote.js";
import { slurmEnvironment } from "../../../src/slurm/slurm-environment.js";
import { temporaryFolder } from "../../scripts/temporary-folder.js";

const WORDS = [
  "plain",
  "two words",
  "it's",
  'a "b" c',
  "$(touch /tmp/no)",
  "`id`",
  "new\nline",
  "back\\slash",
  "ü→漢",
  "",
  "-n",
  "!x",
  "*",
  ";:|&<>#",
];
const placed = {
  name: "kk-1-2",
  comment: "kitty-kv",
  folder: "/shared/a b",
  outputFile: "out-%a.txt",
  isRequeued: true,
};

function folder(): string {
  const temporary = temporaryFolder();
  onTestFinished(() => {
    temporary[Symbol.dispose]();
  });
  return temporary.path;
}

test("quoteForShell() hands every word through bash and sh unchanged", () => {
  for (const shell of ["bash", "sh"]) {
    const { stdout } = spawnSync(shell, ["-c", `printf '%s\\0' ${WORDS.map(quoteForShell).join(" ")}`], {
      encoding: "utf8",
    });
    expect(stdout.split("\0").slice(0, -1)).toEqual(WORDS);
  }
  expect(() => quoteForShell("a\0b")).toThrow(/zero character/);
});

test("a directive's value cannot begin a line of its own", () => {
  expect(quoteForDirective("a100&ib", "--constraint")).toBe('"a100&ib"');
  expect(quoteForDirective('x "y" \\', "--comment")).toBe('"x \\"y\\" \\\\"');
  for (const value of ["a\n#SBATCH --uid=0", "a\rb", "\u0000"]) {
    expect(() => quoteForDirective(value, "--account")).toThrow(expect.objectContaining({ code: "invalid_directive" }));
  }
  const config = resolveConfig({ slurm: { account: "a\nrm -rf /" } });
  expect(() => taskScript(config.slurm, needsOf(config.slurm), placed)).toThrow(/--account .* control character/);
  const extra = resolveConfig({ slurm: { directives: ["--a\nrm"] } });
  expect(() => taskScript(extra.slurm, needsOf(extra.slurm), placed)).toThrow(/one option of sbatch in one line/);
});

test("every directive can be suppressed, and what a site adds comes last", () => {
  const slurm = {
    ...{ partition: "gpu", account: 1234, qos: "high", timeLimitMinutes: 90.5, cpus: 4, memoryMiB: 8000, gpus: 2 },
    ...{ gpuType: "a100", constraint: "ib&hdr", directives: ["--reservation=x", "--mem-per-cpu=2G"] },
  };
  const all = resolveConfig({ slurm }).slurm;
  const script = taskScript(all, needsOf(all), { ...placed, array: { count: 7, parallel: 3 } });
  const lines = script.split("\n").filter((line) => line.startsWith("#SBATCH "));
  expect(lines.map((line) => line.slice("#SBATCH ".length))).toEqual([
    ...[
      "--job-name=kk-1-2",
      "--comment=kitty-kv",
      '--chdir="/shared/a b"',
      "--output=out-%a.txt",
      "--open-mode=append",
    ],
    ...["--array=0-6%3", "--partition=gpu", "--account=1234", "--qos=high", "--time=91", "--nodes=1", "--ntasks=1"],
    ...["--cpus-per-task=4", "--mem=8000M", "--gres=gpu:a100:2", '--constraint="ib&hdr"', "--signal=B:USR1@120"],
    ...["--requeue", "--reservation=x", "--mem-per-cpu=2G"],
  ]);
  const names = lines.slice(0, -2).map((line) => /--([\w-]+)/.exec(line)?.[1] ?? "");
  const none = resolveConfig({ slurm: { ...slurm, directives: [], suppress: names } }).slurm;
  expect(taskScript(none, needsOf(none), { ...placed, array: { count: 7, parallel: 3 } })).not.toContain("#SBATCH");
});

test.each([
  [1, 15],
  [2, 30],
  [4, 90],
  [5, 120],
  [60, 120],
])("with a limit of %d minutes a job is told %d seconds before it", (minutes, seconds) => {
  const { slurm } = resolveConfig({ slurm: { timeLimitMinutes: minutes } });
  expect(taskScript(slurm, needsOf(slurm), placed)).toContain(`#SBATCH --signal=B:USR1@${String(seconds)}\n`);
});

test("the preview of a job that depends on others has the dependency, unless the site refuses it", () => {
  const spec = { kind: "generate", params: { prompts: ["x"] }, dependsOn: ["j1", "j2"] };
  const preview = (suppress: string[]) =>
    previewSlurm(spec, resolveConfig({ slurm: { container: "none", suppress } }))[0]?.script ?? "";
  expect(preview([])).toContain(
    "#SBATCH --dependency=afterok:NUMBER_OF_j1:NUMBER_OF_j2\n#SBATCH --kill-on-invalid-dep=yes\n",
  );
  expect(preview(["--dependency"])).not.toMatch(/dep/);
  const sweep = { kind: "sweep", params: { base: spec, matrix: { preset: ["kitty", "fp16"] } } };
  const array = previewSlurm(sweep, resolveConfig({ slurm: { container: "none" } }))[0]?.script;
  expect(array).toMatch(/--output=out-%a.txt\n[^]*--array=0-1\n/);
});

test("a job's own resources and priority go before the configuration's", () => {
  const { slurm } = resolveConfig({ slurm: { cpus: 4, gpus: 1, timeLimitMinutes: 10 } });
  const resources = { cpus: 8, gpus: 0, timeLimitMinutes: 20 };
  expect(needsOf(slurm, { resources, priority: -50 })).toMatchObject({
    cpus: 8,
    gpus: 0,
    timeLimitMinutes: 20,
    nice: 50,
  });
  expect(needsOf(slurm, { resources: {}, priority: 50 })).toMatchObject({ cpus: 4, gpus: 1, nice: 0 });
  expect(needsOf({ ...slurm, raisePriority: true }, { resources: {}, priority: 50 })).toMatchObject({ nice: -50 });
});

test("a template has the parts where it wants them, and must have those without which nothing runs", () => {
  const path = join(folder(), "site.sh");
  writeFileSync(path, "#!/bin/sh\n{{directives}}\nmodule load x\n{{command}}\n{{unknown}}\n");
  const { slurm } = resolveConfig({ slurm: { template: path, partition: "$&" } });
  const script = taskScript(slurm, needsOf(slurm), placed);
  expect(script).toMatch(/^#!\/bin\/sh\n#SBATCH --job-name[^]*module load x\n[^]*slurm' 'work'[^]*\{\{unknown\}\}/);
  expect(script).toContain('#SBATCH --partition="$&"');
  writeFileSync(path, "#!/bin/sh\n{{directives}}\n");
  expect(() => taskScript(slurm, needsOf(slurm), placed)).toThrow(/has no {{command}}/);
});

test("the script hands signals on, runs the teardown, and puts an interrupted task back with its own number", () => {
  const home = folder();
  const worker = join(home, "worker it's.sh");
  writeFileSync(
    worker,
    '#!/bin/bash\ntrap "echo told > told; exit 75" URG\nprintf "%s\\n" "$@" > args\nkill -USR1 $PPID\nwhile :; do sleep 0.05; done\n',
  );
  writeFileSync(join(home, "scontrol"), '#!/bin/bash\necho "$@" >> requeued\nexit 1\n');
  for (const file of [worker, join(home, "scontrol")]) chmodSync(file, 0o755);
  const { slurm } = resolveConfig({});
  const request = { ...needsOf(slurm), ...placed };
  const parts = {
    request,
    command: [worker, "x y", "$(id)\n"],
    setup: ["export SET=up"],
    teardown: ['echo "$SET" > teardown'],
  };
  writeFileSync(join(home, "script.sh"), batchScript(parts));
  const env = {
    PATH: `${home}:${process.env["PATH"] ?? ""}`,
    SLURM_JOB_ID: "8",
    SLURM_ARRAY_JOB_ID: "7",
    SLURM_ARRAY_TASK_ID: "3",
  };
  const run = spawnSync("bash", ["script.sh"], { cwd: home, env, encoding: "utf8", timeout: 20_000 });
  expect({ status: run.status, stderr: run.stderr }).toEqual({ status: 75, stderr: "" });
  const read = (name: string): string => readFileSync(join(home, name), "utf8");
  expect(read("args")).toBe("x y\n$(id)\n\n3\n");
  expect([read("told"), read("teardown"), read("requeued")]).toEqual(["told\n", "up\n", "requeue 7_3\n"]);
});

test("Slurm's commands see nothing that changes what they do, no secrets, and not the job that we may be in", () => {
  const environment = {
    ...{ PATH: "/bin", SLURM_CONF: "/etc/slurm.conf", KITTY_KV_HOME: "/h", KITTY_KV_TOKEN: "secret", AWS_SECRET: "x" },
    ...{ SBATCH_PARTITION: "p", SQUEUE_FORMAT: "%i", SLURM_JOB_ID: "1", SACCT_FORMAT: "x", SLURM_TIME_FORMAT: "%s" },
  };
  expect(slurmEnvironment(environment)).toEqual({
    ...{ PATH: "/bin", SLURM_CONF: "/etc/slurm.conf", KITTY_KV_HOME: "/h" },
    ...{ LC_ALL: "C.UTF-8", SLURM_TIME_FORMAT: "standard", SLURM_BITSTR_LEN: "0" },
  });
});

test("a node without a file that the job begins with says so, and runs nothing", () => {
  const path = folder();
  const file = join(path, "it's $(touch no)", "main.js");
  const { slurm } = resolveConfig();
  const request = { ...needsOf(slurm), ...placed, folder: path, array: undefined };
  const parts = { request, command: ["touch", join(path, "ran")], setup: [], teardown: [] };
  const run = (files: string[]) => spawnSync("bash", { input: batchScript({ ...parts, files }), encoding: "utf8" });
  const { status, stderr } = run([file]);
  expect(status).toBe(72);
  expect(missingFile(stderr.trimEnd())).toEqual({ node: expect.any(String) as string, file });
  expect(readdirSync(path)).toEqual([]);
  run(["/bin/sh"]);
  expect(readdirSync(path)).toEqual(["ran"]);
});
