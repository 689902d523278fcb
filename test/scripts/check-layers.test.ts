import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { execa } from "execa";
import { temporaryFolder } from "./temporary-folder.js";

const SCRIPTS = join(import.meta.dirname, "../../scripts");
const { checkTypeScript } = (await import(join(SCRIPTS, "layers/check-typescript.mjs"))) as {
  checkTypeScript: (root: string) => string[];
};
const { checkPython } = (await import(join(SCRIPTS, "layers/check-python.mjs"))) as {
  checkPython: (root: string, python: string) => string[];
};

let folder: ReturnType<typeof temporaryFolder>;
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => {
  folder[Symbol.dispose]();
});

async function write(files: Record<string, string>): Promise<void> {
  for (const [path, text] of Object.entries({ "src/index.ts": "", ...files })) {
    await mkdir(join(folder.path, dirname(path)), { recursive: true });
    await writeFile(join(folder.path, path), `${text}\n`);
  }
}

/** What the check says about a tree that consists of these files. */
async function check(files: Record<string, string>): Promise<string[]> {
  await write(files);
  return [...checkTypeScript(folder.path), ...checkPython(folder.path, "python3")];
}

const WRONG: [path: string, text: string, problem: string][] = [
  ["src/util/a.ts", 'import "../errors.js";', "src/util/a.ts imports errors"],
  ["src/bridge/a.ts", 'import type { X } from "../runner/runner.js";', "src/bridge/a.ts imports runner"],
  ["src/config/a.ts", 'export { x } from "../process/child.js";', "src/config/a.ts imports process"],
  ["src/runner/a.ts", 'await import("../orchestrator/kitty.js");', "src/runner/a.ts imports orchestrator"],
  ["src/orchestrator/a.ts", 'import "../index.js";', "src/orchestrator/a.ts imports index"],
  ["src/cli/a.ts", 'import "../orchestrator/kitty.js";', "src/cli/a.ts imports orchestrator"],
  ["src/dashboard/a.ts", 'import "../server/hub.js";', "src/dashboard/a.ts imports server"],
  ["src/extras/a.ts", "", 'is in a folder that has no rule: add "extras"'],
  ["src/runner/a.ts", 'import { Bridge } from "pythonia/src/pythonia/Bridge.js";', "src/runner/a.ts imports pythonia"],
  ["src/runner/a.ts", 'const FILE = "pythonia/src/pythonia/Bridge.js";', "src/runner/a.ts imports pythonia"],
  ["src/cli/a.ts", 'import express from "express";', "src/cli/a.ts imports express"],
  ["src/cli/a.ts", 'import { WebSocket } from "ws";', "src/cli/a.ts imports ws"],
  ["src/orchestrator/a.ts", 'import { parse } from "yaml";', "src/orchestrator/a.ts imports yaml"],
  ["src/runner/a.ts", 'import { execa } from "execa";', "src/runner/a.ts imports execa"],
  ["src/cli/a.ts", 'import { spawn } from "node:child_process";', "src/cli/a.ts imports child_process"],
  ["python/kitty_kv/cache/a.py", "import transformers", "a.py:1 imports transformers: only hf may"],
  ["python/kitty_kv/engine/a.py", "def f():\n    from transformers import AutoModel", "a.py:2 imports transformers"],
  ["python/kitty_kv/worker/a.py", 'importlib.import_module("transformers")', "imports transformers"],
  ["python/kitty_kv/cache/a.py", "from kitty_kernels.pack import reference", "imports kitty_kernels.pack.reference"],
  ["python/kitty_kv/quant/a.py", "from ..cache.layer import KittyLayer", "imports kitty_kv.cache"],
  ["python/kitty_kv/extras/a.py", "from ..cache import layer", 'is in a folder that has no rule: add "extras"'],
  ["kernels/kitty_kernels/pack/api.py", "import numpy", "imports numpy: kernels may import only torch, triton"],
  ["kernels/kitty_kernels/pack/api.py", "import kitty_kv", "imports kitty_kv: kernels may import only"],
  ["kernels/kitty_kernels/pack/api.py", "import triton", "imports triton at the top"],
  ["kernels/kitty_kernels/pack/api.py", "from . import triton", "imports triton.py at the top"],
  ["kernels/kitty_kernels/pack/triton.py", "from .reference import pack", "implementations never import each other"],
];

test.each(WRONG)("%s with %j is refused", async (path, text, problem) => {
  expect(await check({ [path]: text })).toEqual([expect.stringContaining(problem)]);
});

test("Folders that import each other are named as a cycle", async () => {
  const problems = await check({
    "src/bridge/a.ts": 'import "../runner/b.js";',
    "src/runner/b.ts": 'import "../bridge/a.js";',
  });
  expect(problems).toContain("src/ has folders that import each other: bridge -> runner -> bridge");
});

test("Imports that point down pass", async () => {
  const problems = await check({
    "src/cli/a.ts": 'import "../index.js"; import { Command } from "commander"; import "../runner/b.js";',
    "src/runner/b.ts": 'import "../bridge/c.js"; import "./other.js"; import "node:fs";',
    "src/bridge/c.ts": 'const FILE = "pythonia/src/pythonia/Bridge.js";',
    "python/kitty_kv/hf/a.py": "import transformers\nfrom ..cache import layer\nfrom kitty_kv import quant",
    "python/kitty_kv/cache/a.py": "from kitty_kernels.pack.api import pack\nimport numpy",
    "kernels/kitty_kernels/pack/api.py":
      "import json, torch\nfrom . import reference\ndef f():\n    from . import triton",
    "kernels/kitty_kernels/pack/triton.py": "import triton\nimport triton.language as tl\nfrom ..pages import P",
  });
  expect(problems).toEqual([]);
});

test("The script prints what is wrong and ends with exit code 1", async () => {
  await write({ "src/util/a.ts": 'import "../errors.js";' });
  const { exitCode, stderr } = await execa("node", [join(SCRIPTS, "check-layers.mjs"), folder.path], { reject: false });
  expect(stderr).toContain('src/util/a.ts imports errors: "util" may import only nothing of ours');
  expect(exitCode).toBe(1);
});
