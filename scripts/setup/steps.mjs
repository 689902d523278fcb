import { spawnSync } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { runCommand } from "./run-command.mjs";
import { digest, readStamp, removeStamp, writeStamp } from "./stamp.mjs";

const LOCK = "python/requirements.lock";
const TRITON_LOCK = "python/requirements-triton.lock";
const PYPROJECTS = ["python/pyproject.toml", "kernels/pyproject.toml"];

const nodePackages = {
  name: "node packages",
  stamp: "node_modules/.kitty-kv-stamp",
  needed: (root) =>
    digest(root, ["package.json", "package-lock.json"], [process.versions.modules, process.platform, process.arch]),
  isDone: (root) => isStamped(root, nodePackages),
  // npm ci begins by removing what was there.
  halfMade: (root) => [join(root, "node_modules")],
  async run(context) {
    await runCommand(this.name, ["npm", "ci", "--include=dev", "--no-progress"], context);
    stampStep(context.root, nodePackages);
  },
};

const build = {
  name: "build",
  stamp: "dist/.kitty-kv-stamp",
  needed: (root) =>
    digest(root, ["src", "scripts/build", "tsup.config.ts", "tsconfig.json", "package.json", "package-lock.json"]),
  isDone: (root) =>
    isStamped(root, build) &&
    existsSync(join(root, "dist/cli/main.js")) &&
    existsSync(join(root, "dist/dashboard/index.html")),
  halfMade: (root) => [join(root, "dist")],
  async run(context) {
    // Taken before, so that a source that changes meanwhile is built again next time.
    const needed = build.needed(context.root);
    await runCommand(this.name, [process.execPath, "node_modules/tsup/dist/cli-default.js"], context);
    writeStamp(join(context.root, build.stamp), needed);
  },
};

const pythonEnvironment = {
  name: "python environment",
  stamp: ".venv/.kitty-kv-made",
  // A .venv knows its own path, so one that was moved or copied is made anew.
  needed: (root) => digest(root, [], [root]),
  isDone: (root) => isStamped(root, pythonEnvironment) && existsSync(venvPython(root)),
  halfMade: (root) => [join(root, ".venv")],
  async run(context) {
    const { root, python } = context;
    rmSync(join(root, ".venv"), { recursive: true, force: true });
    await runCommand(this.name, [python.file, "-I", "-m", "venv", "--without-pip", ".venv"], context);
    // Not left to venv, which hides why it fails.
    await runCommand(this.name, [venvPython(root), "-I", "-m", "ensurepip", "--default-pip"], context);
    stampStep(root, pythonEnvironment);
  },
};

const pythonPackages = {
  name: "python packages",
  stamp: ".venv/.kitty-kv-packages",
  needed: (root) => digest(root, [LOCK]),
  isDone: (root) => isStamped(root, pythonPackages),
  halfMade: halfMadeVenv,
  async run(context) {
    removeStamp(join(context.root, pythonPackages.stamp));
    await runCommand(this.name, pip(context.root, "install", "-r", LOCK), context);
    stampStep(context.root, pythonPackages);
  },
};

const triton = {
  name: "triton",
  stamp: ".venv/.kitty-kv-triton",
  needed: (root) => digest(root, [LOCK, TRITON_LOCK]),
  isDone: (root) => isStamped(root, triton),
  halfMade: halfMadeVenv,
  async run(context) {
    const { root } = context;
    // The Triton that a CUDA build of torch pins stays; the CPU build has none. Triton exists for Linux only.
    if (process.platform === "linux" && !hasTriton(root))
      await runCommand(this.name, pip(root, "install", "--no-deps", "-r", TRITON_LOCK), context);
    stampStep(root, triton);
  },
};

const ownPackages = {
  name: "own python packages",
  stamp: ".venv/.kitty-kv-own",
  needed: (root) => digest(root, [LOCK, ...PYPROJECTS]),
  isDone: (root) => isStamped(root, ownPackages),
  halfMade: halfMadeVenv,
  async run(context) {
    const flags = ["--no-deps", "--no-build-isolation", "-e", "kernels", "-e", "python"];
    await runCommand(this.name, pip(context.root, "install", ...flags), context);
    stampStep(context.root, ownPackages);
  },
};

/** What a checkout needs, in the order it is made. */
export const STEPS = [nodePackages, build, pythonEnvironment, pythonPackages, triton, ownPackages];
export const PYTHON_STEPS = [pythonEnvironment, pythonPackages, triton, ownPackages];

export function venvPython(root) {
  return join(root, ".venv", "bin", "python");
}

function hasTriton(root) {
  const code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('triton') is None)";
  return spawnSync(venvPython(root), ["-I", "-c", code]).status === 0;
}

/** A .venv in which packages were never complete is removed; one that only needs newer ones stays for the next try. */
function halfMadeVenv(root) {
  return existsSync(join(root, ownPackages.stamp)) ? [] : [join(root, ".venv")];
}

function pip(root, ...args) {
  // -I: what PYTHONPATH or the home folder hold does not count as installed. pip's own settings still apply.
  return [
    venvPython(root),
    "-I",
    "-m",
    "pip",
    "--disable-pip-version-check",
    "--no-input",
    ...args,
    "--progress-bar",
    "off",
  ];
}

function isStamped(root, step) {
  return readStamp(join(root, step.stamp)) === step.needed(root);
}

function stampStep(root, step) {
  writeStamp(join(root, step.stamp), step.needed(root));
}
