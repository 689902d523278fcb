import { spawnSync } from "node:child_process";
import { chmodSync, existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, vi } from "vitest";
import { temporaryFolder } from "../../scripts/temporary-folder.js";

const ROOT = join(import.meta.dirname, "../../..");
const SCRIPT = join(ROOT, "scripts/test/slurm-cluster.sh");
const PROGRAMS = ["slurmctld", "slurmd", "munged", "sbatch"];
const PATH = `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`;

/** Why tests on a real Slurm cannot run here; undefined where they can. */
export function slurmProblem(programs: readonly string[] = PROGRAMS): string | undefined {
  if (process.getuid?.() !== 0) return "a Slurm cluster for tests is started by root only";
  const missing = programs.filter((name) => !PATH.split(":").some((folder) => existsSync(join(folder, name))));
  if (missing.length > 0)
    return `${missing.join(", ")} not installed; scripts/test/install-slurm.sh does it with CI=true`;
  if (!existsSync(join(ROOT, "dist/cli/main.js"))) return "the package is not built; npx tsup does it";
  return undefined;
}

export interface TestCluster {
  problem: string | undefined;
  folder: string;
  /** Runs one of the script's commands: stop-ctld, kill-node n2, … */
  command: (name: string, ...args: string[]) => void;
  /** Runs a program of Slurm's. */
  run: (program: string, ...args: string[]) => string;
}

export interface ClusterOptions {
  nodes?: number;
  hasAccounting?: boolean;
  minJobAgeS?: number;
}

/** A cluster of a file's own for its tests, up before the first of them and gone after the last. */
export function testCluster({ nodes = 4, hasAccounting = false, minJobAgeS = 300 }: ClusterOptions = {}): TestCluster {
  const problem = slurmProblem(hasAccounting ? [...PROGRAMS, "slurmdbd", "mariadbd"] : PROGRAMS);
  const temporary = temporaryFolder();
  // Ordinary users use it too.
  chmodSync(temporary.path, 0o755);
  const folder = join(temporary.path, "cluster");
  const env = { ...process.env, PATH, SLURM_CONF: join(folder, "slurm.conf"), MIN_JOB_AGE_S: String(minJobAgeS) };
  const call = (file: string, args: readonly string[]): string => {
    const { status, stdout, stderr, error } = spawnSync(file, args, { env, encoding: "utf8", timeout: 150_000 });
    if (status !== 0) throw new Error(`${file} ${args.join(" ")}: ${error?.message ?? stderr}`);
    return stdout;
  };
  const command = (name: string, ...args: string[]): void => {
    call(SCRIPT, [name, folder, ...args]);
  };
  beforeAll(() => {
    if (problem !== undefined) return;
    vi.stubEnv("SLURM_CONF", env.SLURM_CONF);
    if (hasAccounting) command("accounting");
    command("up", String(nodes));
  }, 300_000);
  afterAll(() => {
    if (problem === undefined) command("down");
    temporary[Symbol.dispose]();
  });
  return { problem, folder, command, run: (program, ...args) => call(program, args) };
}
