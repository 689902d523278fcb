import { z } from "zod";
import { KittyError, type Config } from "../../index.js";
import { findPython } from "../../runner/find-python.js";
import { workerEnvironment } from "../../runner/worker-environment.js";
import { failed, info, ok, type Check } from "./check.js";
import { runProgram } from "./run-program.js";

const SET_UP = 'run "npm start" once, or "npm run setup"';

const reportSchema = z.object({
  version: z.string(),
  file: z.string(),
  packages: z.record(z.string(), z.object({ version: z.string().optional(), error: z.string().optional() })),
  gpus: z.array(z.object({ name: z.string(), memoryMiB: z.number() })),
  model: z.object({ path: z.string(), missing: z.array(z.string()) }).nullable(),
});

type Report = z.output<typeof reportSchema>;

/** Everything that only the worker's own Python can tell: its packages, the GPUs torch sees, the bundled model. */
export async function checkPython(config: Config, root: string): Promise<Check[]> {
  let file: string;
  try {
    file = findPython(config.worker.python, root);
  } catch (error) {
    if (!(error instanceof KittyError)) throw error;
    return [failed("python", error.message, SET_UP)];
  }
  const run = await runProgram({ file, args: ["-m", "kitty_kv.doctor"], env: workerEnvironment(root, process.env) });
  const report = parseReport(run.stdout);
  if (report === undefined) {
    const found = run.startError?.message ?? run.stderrTail.at(-1) ?? `exit code ${String(run.exitCode)}`;
    return [failed("python", `${file} does not work: ${found}`, SET_UP)];
  }
  return [checkVersion(report), ...checkPackages(report), checkGpu(report), checkModel(report)];
}

/** The report is the last line; a package that prints while it is imported comes before. */
function parseReport(stdout: string): Report | undefined {
  try {
    return reportSchema.safeParse(JSON.parse(stdout.trim().split("\n").at(-1) ?? "")).data;
  } catch {
    // No JSON: what the program wrote to stderr says why.
    return undefined;
  }
}

function checkVersion({ version, file }: Report): Check {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  if (major === 3 && minor >= 10) return ok("python", `${version}, ${file}`);
  return failed(
    "python",
    `${version} (${file}), and 3.10 or later is needed`,
    "install Python 3.10 to 3.13 and remove .venv",
  );
}

function checkPackages({ packages, gpus }: Report): Check[] {
  return Object.entries(packages).map(([name, { version, error }]) => {
    if (version !== undefined && error === undefined) return ok(name, version);
    if (name === "triton" && gpus.length === 0) return info(name, "not installed; only needed with a GPU");
    return failed(name, error ?? "not installed", `remove .venv and ${SET_UP}`);
  });
}

function checkGpu({ gpus }: Report): Check {
  if (gpus.length === 0) return info("gpu", "none that torch can use; models run on the CPU");
  return ok("gpu", gpus.map(({ name, memoryMiB }) => `${name} (${String(memoryMiB)} MiB)`).join(", "));
}

function checkModel({ model }: Report): Check {
  if (model === null) return failed("bundled model", "kitty_kv cannot be imported", SET_UP);
  if (model.missing.length === 0) return ok("bundled model", model.path);
  return failed(
    "bundled model",
    `${model.missing.join(", ")} missing in ${model.path}`,
    "get a complete checkout (git status shows what is missing)",
  );
}
