import { spawnSync } from "node:child_process";
import { realpathSync } from "node:fs";
import { join } from "node:path";
import { SetupError } from "./setup-error.mjs";

const OLDEST = [3, 10];
const NEWEST = [3, 14];
const NAMES = ["python3", "python3.13", "python3.12", "python3.11", "python3.10", "python3.14", "python"];

const PROBE = `
import json, sys
try:
    import ensurepip, venv
    missing = None
except ImportError as error:
    missing = error.name
print(json.dumps({"version": sys.version_info[:3], "file": sys.executable, "missing": missing}))
`;

/**
 * The Python that .venv is made from: KITTY_KV_PYTHON, else the first fitting one on PATH.
 * @throws SetupError that lists what was found
 */
export function findBasePython(root, environment = process.env) {
  const wanted = environment.KITTY_KV_PYTHON;
  const isOwn = wanted !== undefined && wanted !== "" && isVenvPython(root, wanted);
  if (wanted === undefined || wanted === "" || isOwn) return findOnPath(root);
  const found = probe(wanted);
  const problem = describeProblem(found);
  if (problem === undefined) return found;
  throw new SetupError("python", `KITTY_KV_PYTHON is ${JSON.stringify(wanted)}, which ${problem}`, {
    remedy: "set KITTY_KV_PYTHON to a Python 3.10 to 3.14 with its venv module, or unset it",
  });
}

function findOnPath(root) {
  const seen = [];
  for (const name of NAMES) {
    const found = probe(name);
    // An activated .venv of this checkout is first on PATH, and cannot be made from itself.
    if (found === undefined || isVenvPython(root, found.file)) continue;
    const problem = describeProblem(found);
    if (problem === undefined) return found;
    seen.push(`${found.file} ${problem}`);
  }
  const onPath = seen.length === 0 ? "there is no Python on PATH" : [...new Set(seen)].join("; ");
  const needsVenv = seen.some((text) => text.includes("module"));
  throw new SetupError("python", `no Python fits: ${onPath}`, {
    remedy: needsVenv
      ? "install the venv module (Debian, Ubuntu: apt install python3-venv)"
      : "install Python 3.10 to 3.13 with its venv module (Debian, Ubuntu: apt install python3 python3-venv), or set KITTY_KV_PYTHON to one",
  });
}

function describeProblem(found) {
  if (found === undefined) return "does not run";
  const [major, minor] = found.version;
  const version = found.version.join(".");
  if (major !== 3 || minor < OLDEST[1]) return `is Python ${version}, and ${OLDEST.join(".")} or later is needed`;
  if (minor > NEWEST[1])
    return `is Python ${version}, for which the pinned packages have no builds (3.10 to 3.14 have)`;
  if (found.missing !== null) return `is Python ${version} without the ${found.missing} module`;
  return undefined;
}

function probe(file) {
  const { stdout, status } = spawnSync(file, ["-I", "-c", PROBE], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  if (status !== 0) return undefined;
  try {
    return JSON.parse(stdout);
  } catch {
    // Something else goes by this name.
    return undefined;
  }
}

/** Compares folders, as the file itself is a link to the Python it was made from. */
function isVenvPython(root, file) {
  try {
    return realpathSync(join(file, "..")) === realpathSync(join(root, ".venv", "bin"));
  } catch {
    // There is no .venv yet.
    return false;
  }
}
