import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const run = promisify(execFile);
const root = join(import.meta.dirname, "../..");

test("examples/generate.ts, the SDK's eight lines, runs as the README says", async () => {
  const { stdout } = await run("npm", ["run", "-s", "example", "generate"], { cwd: root });
  expect(stdout).toMatch(/length after 64 tokens, cache \d+\.\d\dx smaller/);
});

test("examples/chat.ts goes on in one session", async () => {
  const { stdout } = await run("npm", ["run", "-s", "example", "chat"], { cwd: root });
  const cached = [...stdout.matchAll(/new prompt tokens, (\d+) tokens cached\]/g)].map(([, tokens]) => Number(tokens));
  expect(cached).toHaveLength(2);
  expect(cached[1]).toBeGreaterThan(Number(cached[0]) + 32);
});

test("examples/python/two_lines.py runs in the environment that set-up made", async () => {
  const { stdout } = await run(join(root, ".venv/bin/python"), ["examples/python/two_lines.py"], { cwd: root });
  expect(stdout.length).toBeGreaterThan(50);
});

test("examples/python/batch_generation.py writes for each row what it writes alone", async () => {
  const { stdout } = await run(join(root, ".venv/bin/python"), ["examples/python/batch_generation.py"], { cwd: root });
  expect(stdout.match(/, the same as alone/g)).toHaveLength(3);
});

test("examples/python/beam_search.py returns two of four beams", async () => {
  const { stdout } = await run(join(root, ".venv/bin/python"), ["examples/python/beam_search.py"], { cwd: root });
  expect(stdout.trim().split("\n")).toHaveLength(3);
  expect(stdout).toMatch(/4 beams of \d+ tokens/);
});

test("examples/python/chat_with_save.py goes on from a saved cache", async () => {
  const { stdout } = await run(join(root, ".venv/bin/python"), ["examples/python/chat_with_save.py"], { cwd: root });
  expect(stdout).toMatch(/saved \d+ tokens in [\d,]+ bytes\nrestored \d+ tokens; the next turn is the same/);
});
