import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { KERNEL_PACKAGES, PYTHON_FOLDERS, PYTHON_PACKAGES } from "./rules.mjs";

const ENGINE = "python/kitty_kv";
const KERNELS = "kernels/kitty_kernels";
const LISTER = fileURLToPath(new URL("python_imports.py", import.meta.url));

/** Checks every import of our two Python packages. @returns one sentence for each that points the wrong way */
export function checkPython(root, python) {
  const { stdlib, files } = listImports(root, python);
  return Object.entries(files).flatMap(([path, imports]) => {
    const check = path.startsWith(`${KERNELS}/`) ? checkKernelImport : checkEngineImport;
    return imports.flatMap((found) => {
      const problem = check(path, found, stdlib);
      return problem === undefined ? [] : [`${path}:${found.line} ${problem}`];
    });
  });
}

function checkEngineImport(path, { name }) {
  const from = folderOf(path.slice(ENGINE.length + 1));
  const [outer, inner] = name.split(".");
  const homes = Object.hasOwn(PYTHON_PACKAGES, outer) ? PYTHON_PACKAGES[outer] : undefined;
  if (homes !== undefined && !homes.includes(from)) return `imports ${outer}: only ${homes.join(", ")} may`;
  if (outer === "kitty_kernels" && name.split(".")[2] !== "api") {
    return `imports ${name}: kernels are reached through kitty_kernels.<op>.api only`;
  }
  if (outer !== "kitty_kv" || inner === undefined) return undefined;
  const allowed = PYTHON_FOLDERS[from];
  if (allowed === undefined) return `is in a folder that has no rule: add "${from}" to scripts/layers/rules.mjs`;
  // `from kitty_kv import __version__` and the like name no folder.
  if (inner === from || PYTHON_FOLDERS[inner] === undefined || allowed.includes(inner)) return undefined;
  return `imports kitty_kv.${inner}: "${from}" may import only ${allowed.join(", ") || "nothing of ours"}`;
}

function checkKernelImport(path, { name, isTopLevel }, stdlib) {
  const [outer] = name.split(".");
  const [op, file] = path.slice(KERNELS.length + 1).split("/");
  if (outer === "kitty_kernels") return checkKernelFile(op, file, name.split("."), isTopLevel);
  if (outer === "triton" && isTopLevel && !isTritonFile(file)) {
    return "imports triton at the top: only an operation's triton.py, kernel.py and *_kernel.py may, so that kernels load without it";
  }
  if (KERNEL_PACKAGES.includes(outer) || stdlib.includes(outer)) return undefined;
  return `imports ${outer}: kernels may import only ${KERNEL_PACKAGES.join(", ")} and the standard library`;
}

/** An operation's launcher, and its kernels where all are too long for one file. */
const isTritonFile = (file) => /^(triton|kernel|\w+_kernel)\.py$/.test(file);

/** api -> {reference | triton}; these two never import each other, and triton is loaded on first use. */
function checkKernelFile(op, file, [, targetOp, targetFile], isTopLevel) {
  if (targetOp !== op || file === undefined) return undefined;
  const isImplementation = ["reference.py", "triton.py"].includes(file);
  if (isImplementation && ["reference", "triton"].includes(targetFile)) {
    return `imports ${targetFile}: implementations never import each other`;
  }
  if (isTritonFile(`${targetFile}.py`) && targetFile !== "triton" && !isTritonFile(file)) {
    return `imports ${targetFile}.py, which is its triton.py's alone`;
  }
  if (targetFile === "triton" && isTopLevel) return "imports triton.py at the top: load it on first use";
  return undefined;
}

function listImports(root, python) {
  const folders = [ENGINE, KERNELS].filter((folder) => existsSync(join(root, folder)));
  const options = { encoding: "utf8", maxBuffer: 2 ** 26 };
  const { stdout, stderr, status, error } = spawnSync(python, ["-I", LISTER, root, ...folders], options);
  if (status === 0) return JSON.parse(stdout);
  throw new Error(`Cannot list Python's imports with ${python}: ${error?.message ?? stderr.trim()}`);
}

/** hf/cache.py -> hf; config.py -> config */
function folderOf(path) {
  return path.split("/")[0].replace(/\.py$/, "");
}
