import { spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { buildImage, type BuiltImage } from "../../../src/apptainer/build-image.js";
import { acquireOverlayLease, type OverlayLease } from "../../../src/apptainer/overlay-lease.js";
import { OverlayInUseError } from "../../../src/errors.js";

const ROOT = join(import.meta.dirname, "../../..");
const isRoot = process.getuid?.() === 0;

/** Why tests with a real Apptainer cannot run here; undefined where they can. */
export function apptainerProblem(): string | undefined {
  if (spawnSync("apptainer", ["--version"]).status !== 0) return "there is no working apptainer on PATH";
  const hasUser = !isRoot || spawnSync("id", ["kitty-kv-test"]).status === 0;
  if (!hasUser) return "root needs the user kitty-kv-test, which scripts/test/install-apptainer.sh makes with CI=true";
  if (spawnSync("debootstrap", ["--version"]).status !== 0) return "debootstrap is not installed";
  return undefined;
}

/** The program and flag that build images here: root does it through an ordinary user. */
export const builder = isRoot
  ? { program: join(ROOT, "test/fixtures/apptainer-as-user"), usesFakeroot: true }
  : { usesFakeroot: true };

/** A folder in which images can be built, and where they stay for the next run. */
export function imageFolder(): string {
  const folder = join(tmpdir(), `kitty-kv-test-image-${String(process.getuid?.())}`);
  mkdirSync(folder, { recursive: true });
  if (isRoot) chmodSync(folder, 0o777);
  return folder;
}

/** The CPU image, built from its definition file on first use; later ones, of other test files too, find it. */
export async function cpuImage(): Promise<BuiltImage> {
  const folder = imageFolder();
  const definition = join(folder, "kitty-cpu.def");
  const image = join(folder, "kitty-cpu.sif");
  await using turn = await takeTurn(image);
  copyFileSync(join(ROOT, "apptainer/kitty-cpu.def"), definition);
  return await buildImage(image, { definition, ...builder, signal: turn.lost });
}

/** Test files run side by side, and what takes long is worth making only once. */
export async function takeTurn(path: string): Promise<OverlayLease> {
  for (;;) {
    try {
      return await acquireOverlayLease(path, { kind: "writer", purpose: "make it for the tests" });
    } catch (error) {
      if (!(error instanceof OverlayInUseError)) throw error;
      await sleep(500);
    }
  }
}
