import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, expect, test } from "vitest";
import { runApptainer } from "../../../src/apptainer/apptainer.js";
import { createOverlay } from "../../../src/apptainer/create-overlay.js";
import { inspectImage } from "../../../src/apptainer/inspect-image.js";
import { acquireOverlayLease } from "../../../src/apptainer/overlay-lease.js";
import { manifestPath } from "../../../src/apptainer/overlay-manifest.js";
import { overlayStatus } from "../../../src/apptainer/overlay-status.js";
import { provisionOverlay } from "../../../src/apptainer/provision-overlay.js";
import { sealOverlay } from "../../../src/apptainer/seal-overlay.js";
import { verifyOverlay } from "../../../src/apptainer/verify-overlay.js";
import { apptainerProblem, cpuImage } from "./test-image.js";

const ROOT = join(import.meta.dirname, "../../..");
const PYTHON = "/opt/kitty/env/bin/python";
const problem = apptainerProblem();

let folder: string;
let image: string;
let wheels: string;
/** Made once, as a provision takes seconds: each test works on its own copy. */
let provisioned: string;
const progress: string[] = [];

beforeAll(async () => {
  if (problem !== undefined) return;
  folder = mkdtempSync(join(tmpdir(), "kitty-kv-overlay-"));
  wheels = join(folder, "wheels");
  mkdirSync(wheels);
  for (const version of ["1.0", "2.0"]) {
    const { status } = spawnSync("python3", [join(ROOT, "test/fixtures/make-wheel.py"), "tiny_thing", version, wheels]);
    expect(status).toBe(0);
  }
  image = (await cpuImage()).path;
  provisioned = await newOverlay("provisioned.img");
  await provision(provisioned, "tiny_thing==1.0", progress);
}, 400_000);

afterAll(() => {
  if (problem === undefined) rmSync(folder, { recursive: true, force: true });
});

function plan(...requirements: string[]) {
  return { requirements, sources: [], constraints: undefined, imports: ["tiny_thing"] };
}

function provision(overlay: string, requirement: string, lines: string[] = []) {
  const onProgress = (line: string): void => void lines.push(line);
  return provisionOverlay(overlay, { image, wheels, packageFolder: ROOT, plan: plan(requirement), onProgress });
}

async function newOverlay(name: string): Promise<string> {
  const overlay = join(folder, name);
  await createOverlay(overlay, { sizeMiB: 128 });
  return overlay;
}

function copyOfProvisioned(name: string): string {
  const overlay = join(folder, name);
  expect(spawnSync("cp", ["--sparse=always", provisioned, overlay]).status).toBe(0);
  copyFileSync(manifestPath(provisioned), manifestPath(overlay));
  return overlay;
}

/** What the container sees, with no help of ours. */
function readVersion(overlay: string): Promise<string> {
  const code = "import tiny_thing; print(tiny_thing.VERSION)";
  return runApptainer(["exec", "--containall", "--overlay", `${overlay}:ro`, image, PYTHON, "-c", code], {
    purpose: "read the version",
  });
}

test("an overlay is created, provisioned offline, sealed and verified, and serves two containers unchanged", async ({
  skip,
}) => {
  skip(problem !== undefined, problem);
  const overlay = copyOfProvisioned("life.img");
  const { allocatedBytes, sizeBytes, manifest } = await overlayStatus(overlay);
  expect([sizeBytes, allocatedBytes < 100 * 2 ** 20]).toEqual([128 * 2 ** 20, true]);
  expect(progress).toContain("Provision: install tiny_thing==1.0");
  expect(manifest).toMatchObject({ state: "provisioned", packages: { "tiny-thing": "1.0" } });
  const sealed = await sealOverlay(overlay);
  const sha256 = spawnSync("sha256sum", [overlay], { encoding: "utf8" }).stdout.split(" ")[0];
  expect([sealed.sha256, sealed.image.sha256]).toEqual([sha256, (await inspectImage(image)).sha256]);
  expect(statSync(overlay).mode & 0o777).toBe(0o444);
  expect(await Promise.all([readVersion(overlay), readVersion(overlay)])).toEqual(["1.0\n", "1.0\n"]);
  expect(await verifyOverlay(overlay, { image })).toEqual(sealed);
  await expect(provision(overlay, "tiny_thing==2.0")).rejects.toMatchObject({ code: "overlay_sealed" });
  expect(await overlayStatus(overlay)).toMatchObject({ manifest: { state: "sealed" }, holders: [] });
});

test("an overlay sealed as squashfs has the same content, is a fraction of the size, and is no ext3 file any more", async ({
  skip,
}) => {
  skip(problem !== undefined, problem);
  const overlay = copyOfProvisioned("squashed.img");
  await expect(sealOverlay(overlay, { isCompressed: true, signal: AbortSignal.abort() })).rejects.toMatchObject({
    code: "cancelled",
  });
  const sealed = await sealOverlay(overlay, { isCompressed: true });
  expect(sealed).toMatchObject({ format: "squashfs", sizeBytes: statSync(overlay).size });
  expect(sealed.sizeBytes).toBeLessThan(20 * 2 ** 20);
  expect(statSync(overlay).mode & 0o777).toBe(0o444);
  expect(await readVersion(overlay)).toBe("1.0\n");
  expect(await verifyOverlay(overlay, { image })).toEqual(sealed);
  expect(readdirSync(folder).filter((name) => name.startsWith("squashed.img.sealing-"))).toEqual([]);
  // Killed between the last two steps: the file is new, the manifest is not.
  copyFileSync(manifestPath(provisioned), manifestPath(overlay));
  expect((await sealOverlay(overlay)).sha256).toBe(sealed.sha256);
});

test("a sealed overlay in which one byte changed, or of another image, is refused", async ({ skip }) => {
  skip(problem !== undefined, problem);
  const overlay = copyOfProvisioned("tampered.img");
  await expect(verifyOverlay(overlay)).rejects.toMatchObject({ code: "overlay_not_sealed" });
  await sealOverlay(overlay);
  const other = join(folder, "other.sif");
  copyFileSync(image, other);
  writeSync(openSync(other, "a"), "x");
  await expect(verifyOverlay(overlay, { image: other })).rejects.toMatchObject({ code: "overlay_image_mismatch" });
  chmodSync(overlay, 0o600);
  writeSync(openSync(overlay, "r+"), "x", 100 * 2 ** 20);
  await expect(verifyOverlay(overlay)).rejects.toMatchObject({ code: "overlay_tampered" });
  await expect(sealOverlay(overlay)).rejects.toMatchObject({ code: "overlay_tampered" });
});

test(
  "a provision that fails, is cancelled or is killed half-way leaves the old overlay usable and the next one cleans up",
  { timeout: 180_000 },
  async ({ skip }) => {
    skip(problem !== undefined, problem);
    const overlay = copyOfProvisioned("killed.img");
    await expect(provision(overlay, "tiny_thing==9.9")).rejects.toMatchObject({ code: "provision_failed" });
    const stop = new AbortController();
    const cancelled = provisionOverlay(overlay, {
      ...{ image, wheels, packageFolder: ROOT, plan: plan("tiny_thing==2.0"), signal: stop.signal },
      onProgress: (line) => {
        if (line.startsWith("Provision: make")) stop.abort();
      },
    });
    await expect(cancelled).rejects.toMatchObject({ code: "cancelled" });
    expect(leftovers(overlay)).toEqual([]);
    const file = join(ROOT, "test/fixtures/provisioner.ts");
    const args = ["--import", "tsx", file, overlay, image, wheels, ROOT, "tiny_thing==2.0"];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    for await (const line of createInterface(child.stdout)) if (line.startsWith("Provision: make")) break;
    child.kill("SIGKILL");
    await once(child, "exit");
    expect(await readVersion(overlay)).toBe("1.0\n");
    expect(leftovers(overlay)).toHaveLength(1);
    await expect.poll(() => mentions(overlay), { timeout: 20_000 }).toEqual([]);
    expect((await provision(overlay, "tiny_thing==2.0")).state).toBe("provisioned");
    expect([await readVersion(overlay), leftovers(overlay)]).toEqual(["2.0\n", []]);
  },
);

function leftovers(overlay: string): string[] {
  return readdirSync(folder).filter((name) => join(folder, name).startsWith(`${overlay}.provisioning-`));
}

/** Processes that work on copies of the overlay. */
function mentions(overlay: string): string[] {
  const commands = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8");
      } catch {
        // It ended meanwhile.
        return "";
      }
    });
  return commands.filter((command) => command.includes(`${overlay}.provisioning-`));
}

test("while somebody reads, an overlay is neither provisioned nor sealed; while somebody writes, not verified", async ({
  skip,
}) => {
  skip(problem !== undefined, problem);
  const overlay = await newOverlay("used.img");
  const reader = await acquireOverlayLease(overlay, { kind: "reader", purpose: "run instances" });
  await expect(provision(overlay, "tiny_thing==1.0")).rejects.toMatchObject({ code: "overlay_in_use" });
  await expect(sealOverlay(overlay)).rejects.toMatchObject({ code: "overlay_in_use" });
  expect((await overlayStatus(overlay)).holders).toMatchObject([{ kind: "reader", purpose: "run instances" }]);
  await reader.release();
  await using writer = await acquireOverlayLease(overlay, { kind: "writer", purpose: "provision" });
  await expect(verifyOverlay(overlay)).rejects.toMatchObject({ code: "overlay_in_use" });
  expect(writer.lost.aborted).toBe(false);
});

test("an overlay that is too small says so, and stays empty", async ({ skip }) => {
  skip(problem !== undefined, problem);
  const overlay = join(folder, "small.img");
  await createOverlay(overlay, { sizeMiB: 64 });
  const large = join(folder, "large");
  mkdirSync(large);
  spawnSync("python3", [join(ROOT, "test/fixtures/make-wheel.py"), "tiny_large", "1.0", large]);
  const name = readdirSync(large)[0] ?? "";
  const blob =
    "import os, sys, zipfile; z = zipfile.ZipFile(sys.argv[1], 'a'); z.writestr('blob.bin', os.urandom(80 << 20))";
  expect(spawnSync("python3", ["-c", blob, join(large, name)]).status).toBe(0);
  const options = { image, wheels: large, packageFolder: ROOT, plan: { ...plan("tiny_large"), imports: [] } };
  await expect(provisionOverlay(overlay, options)).rejects.toMatchObject({ code: "overlay_full" });
  expect((await overlayStatus(overlay)).manifest.state).toBe("empty");
});

test("createOverlay() refuses what exists, sizes below Apptainer's, and paths that Apptainer would misread", async ({
  skip,
}) => {
  skip(problem !== undefined, problem);
  const overlay = await newOverlay("exists.img");
  await expect(createOverlay(overlay, { sizeMiB: 64 })).rejects.toMatchObject({ code: "overlay_exists" });
  await expect(createOverlay(join(folder, "x.img"), { sizeMiB: 63 })).rejects.toMatchObject({
    code: "invalid_argument",
  });
  await expect(createOverlay(join(folder, "a:ro"), { sizeMiB: 64 })).rejects.toMatchObject({ code: "invalid_path" });
  rmSync(manifestPath(overlay));
  await expect(sealOverlay(overlay)).rejects.toMatchObject({ code: "overlay_manifest_not_found" });
});

test("without Apptainer the error names the program and the remedy, and nothing is left", async () => {
  const empty = mkdtempSync(join(tmpdir(), "kitty-kv-none-"));
  try {
    const overlay = join(empty, "kitty.img");
    await expect(createOverlay(overlay, { sizeMiB: 64, program: join(empty, "apptainer") })).rejects.toMatchObject({
      code: "apptainer_not_found",
      message: expect.stringMatching(/cannot be started .*ENOENT.*, install Apptainer/) as string,
    });
    expect(readdirSync(empty)).toEqual(["kitty.img.lease"]);
  } finally {
    rmSync(empty, { recursive: true, force: true });
  }
});
