import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, expect, test } from "vitest";
import { acquireOverlayLease } from "../../src/apptainer/overlay-lease.js";
import { apptainerProblem } from "../src/apptainer/test-image.js";

const CLI = join(import.meta.dirname, "../../dist/cli/main.js");
const problem = apptainerProblem();
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "kitty-kv-overlay-cli-"));
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

async function kitty(args: string[], env: Record<string, string> = {}) {
  const { exitCode, stdout, stderr } = await execa(process.execPath, [CLI, ...args], { reject: false, env });
  return { exitCode, stdout, stderr };
}

function img(name: string): string {
  return join(folder, name);
}

test.each<[string[], string]>([
  [["overlay", "create", "a.img"], "required option '--size-mib <n>' not specified"],
  [["overlay", "create", "a.img", "--size-mib", "63"], "its size must be a whole number of MiB >= 64, got 63"],
  [["overlay", "create", "a:ro", "--size-mib", "64"], 'Cannot use "a:ro" as an overlay'],
  [["overlay", "provision", "a.img"], "required option '--image <sif>' not specified"],
  [["overlay", "provision", "a.img", "--image", "b", "--constraints", "/no/lock"], 'no constraints at "/no/lock"'],
  [
    ["image", "build", "--def", "a.def", "--out", "a.sif", "--build-arg", "x"],
    '--build-arg must be name=value, got "x"',
  ],
  [["image", "buidl"], "unknown command 'buidl', did you mean build?"],
])("kitty-kv %j is refused in one sentence", async (args, message) => {
  const { exitCode, stdout, stderr } = await kitty(args);
  expect(stderr).toContain(message);
  expect(stderr).toMatch(/^Cannot [^\n]+$/);
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
});

test("without Apptainer the commands fail with a clear error, and doctor says what to do", async () => {
  const env = { PATH: folder };
  const { exitCode, stdout } = await kitty(["overlay", "create", img("none.img"), "--size-mib", "64", "--json"], env);
  expect(JSON.parse(stdout)).toMatchObject({
    error: { code: "apptainer_not_found", details: { program: "apptainer" } },
  });
  expect(exitCode).toBe(1);
  const doctor = JSON.parse((await kitty(["doctor", "--json"], env)).stdout) as { checks: { name: string }[] };
  expect(doctor.checks.find(({ name }) => name === "apptainer")).toMatchObject({
    status: "info",
    remedy: expect.stringContaining("install Apptainer") as string,
  });
});

test("overlay create, status, seal and verify answer with JSON, and a second writer with overlay_in_use", async ({
  skip,
}) => {
  skip(problem !== undefined, problem);
  const overlay = img("kitty.img");
  const created = await kitty(["overlay", "create", overlay, "--size-mib", "64", "--json"]);
  expect(created.exitCode).toBe(0);
  expect(JSON.parse(created.stdout)).toMatchObject({ path: overlay, state: "empty", sizeBytes: 64 * 2 ** 20 });
  const status = await kitty(["overlay", "status", overlay, "--json"]);
  expect(JSON.parse(status.stdout)).toMatchObject({ path: overlay, manifest: { state: "empty" }, holders: [] });
  for (const [command, code] of [
    ["seal", "overlay_not_provisioned"],
    ["verify", "overlay_not_sealed"],
  ] as const) {
    const { exitCode, stdout } = await kitty(["overlay", command, overlay, "--json"]);
    expect({ exitCode, error: JSON.parse(stdout) as unknown }).toMatchObject({
      exitCode: 1,
      error: { error: { code } },
    });
  }
  await using lease = await acquireOverlayLease(overlay, { kind: "reader", purpose: "run instances" });
  const refused = await kitty(["overlay", "seal", overlay]);
  expect(refused.exitCode).toBe(1);
  expect(refused.stderr).toContain(`is being read (run instances by process ${String(lease.holder.pid)} on`);
});
