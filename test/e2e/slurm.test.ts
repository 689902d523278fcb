import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { folder } from "../src/slurm/slurm-config.js";
import { testCluster } from "../src/slurm/test-cluster.js";

const ROOT = join(import.meta.dirname, "../..");
const USER = "kitty-kv-test";
const cluster = testCluster({ nodes: 2 });

/** Runs a command as a user who may do nothing special, from a home of that user's own. */
function asUser(home: string, command: readonly string[]) {
  const env = [`HOME=${home}`, `KITTY_KV_HOME=${home}/state`, `SLURM_CONF=${cluster.folder}/slurm.conf`];
  const path = `PATH=${process.env["PATH"] ?? ""}`;
  return spawnSync("runuser", ["-u", USER, "--", "env", "-i", ...env, path, ...command], {
    encoding: "utf8",
    cwd: home,
  });
}

function userProblem(home: string): string | undefined {
  if (cluster.problem !== undefined) return cluster.problem;
  if (spawnSync("id", [USER]).status !== 0) return `there is no user ${USER}, which install-apptainer.sh makes`;
  const node = asUser(home, [process.execPath, "--version"]);
  const main = asUser(home, ["test", "-r", join(ROOT, "dist/cli/main.js")]);
  return node.status === 0 && main.status === 0 ? undefined : `${USER} may not read this checkout or its Node.js`;
}

// A home on NFS: its file system cannot share memory between machines, which the store's usual journal needs.
const STORES = {
  "the journal for network file systems": "jobs: { journal: delete }\nslurm: { container: none }",
  "the store on a disk of this machine": "jobs: { folder: local }\nslurm: { container: none, folder: shared }",
};

test.for(Object.entries(STORES))(
  "an ordinary user prints, submits, watches and talks on a cluster, by the built command line: %s",
  { timeout: 120_000 },
  async ([, store], { skip }) => {
    const home = folder();
    chmodSync(home, 0o755);
    // The tests' own folder may not be open to others.
    cpSync(join(ROOT, "test/fixtures/workers"), join(home, "workers"), { recursive: true });
    const worker = join(home, "workers/good_worker.py");
    writeFileSync(join(home, "c.yaml"), `runner: slurm\nworker: { python: ${worker} }\n${store}\n`);
    writeFileSync(
      join(home, "job.yaml"),
      "kind: generate\nname: it's $(touch pwned)\nparams: { prompts: [a, b], maxNewTokens: 3 }\n",
    );
    spawnSync("chown", ["-R", USER, home]);
    const problem = userProblem(home);
    skip(problem !== undefined, problem);
    const kitty = (...args: string[]) =>
      asUser(home, [process.execPath, join(ROOT, "dist/cli/main.js"), ...args, "-c", "c.yaml"]);
    const script = kitty("slurm", "script", "job.yaml");
    expect(script).toMatchObject({ status: 0, stderr: "" });
    expect(script.stdout).toMatch(/^#!\/bin\/bash\n#SBATCH --job-name=kitty-kv-NAME\n/);
    expect(script.stdout).not.toContain("touch pwned");
    expect(spawnSync("bash", ["-n"], { input: script.stdout }).status).toBe(0);
    const job = kitty("job", "submit", "job.yaml", "--wait");
    expect(job).toMatchObject({ status: 0, stdout: expect.stringMatching(/succeeded +generate .* 2\/2\n$/) as string });
    expect(readdirSync(home)).not.toContain("pwned");
    expect(existsSync(join(home, "local"))).toBe(store.includes("local"));
    const shared = existsSync(join(home, "shared")) ? join(home, "shared/jobs") : join(home, "state/jobs");
    const [id = ""] = readdirSync(shared);
    expect(readFileSync(join(shared, id, "results.jsonl"), "utf8")).toContain('"text":"w0 w1 w2 "');
    const text = kitty("generate", "x", "--max-new-tokens", "2");
    expect(text).toMatchObject({ status: 0, stdout: "w0 w1 \n" });
    expect(text.stderr).toMatch(/Slurm job \d+ has n[12]/);
    const status = (): unknown => JSON.parse(kitty("slurm", "status", "--json").stdout);
    // The allocation is given back; its nodes are tidied up for a moment longer.
    await expect.poll(status, { timeout: 20_000 }).toMatchObject({ cluster: "testbed", submissions: [] });
    const refused = kitty("job", "submit", "job.yaml", "--runner", "nonsense");
    expect(refused).toMatchObject({ status: 2, stdout: "" });
  },
);
