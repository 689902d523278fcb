import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, linkSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createOverlay } from "../../../src/apptainer/create-overlay.js";
import { manifestPath, readManifest } from "../../../src/apptainer/overlay-manifest.js";
import { ownPlan } from "../../../src/apptainer/provision-plan.js";
import { provisionOverlay } from "../../../src/apptainer/provision-overlay.js";
import { sealOverlay } from "../../../src/apptainer/seal-overlay.js";
import { beforeAll, vi } from "vitest";
import { temporaryFolder } from "../../scripts/temporary-folder.js";
import { apptainerProblem, cpuImage, imageFolder, takeTurn } from "./test-image.js";

const ROOT = join(import.meta.dirname, "../../..");
const PYTHON = join(ROOT, ".venv/bin/python");
const SIZE_MIB = 1536;
// The Python of the CPU image, whatever the one of this machine is.
const TARGET = ["--only-binary=:all:", "--python-version", "3.11", "--implementation", "cp"];
const ABIS = ["cp311", "abi3", "none"].flatMap((abi) => ["--abi", abi]);
const PLATFORMS = ["manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "any"];

/** Why tests that run workers in instances cannot run here; undefined where they can. */
export function instancesProblem(): string | undefined {
  const problem = apptainerProblem();
  if (problem !== undefined) return problem;
  const version = torchVersion();
  if (version.includes("+cpu")) return undefined;
  return `an overlay for them holds the CPU build of torch, and this machine's pip installs ${version || "none"}`;
}

/** The same overlay under a name, and so with leases, that no other test file has. */
export async function ownTestOverlay(folder: string): Promise<{ image: string; overlay: string }> {
  const { image, overlay } = await testOverlay();
  const own = join(folder, "kitty.img");
  linkSync(overlay, own);
  copyFileSync(manifestPath(overlay), manifestPath(own));
  return { image, overlay: own };
}

/**
 * A sealed overlay with torch, Transformers and Kitty KV for the CPU image: made once a machine from the packages that
 * `pip` finds here (a minute or two), and then found by later runs until the lock file, the image or what provisions it changes.
 */
async function testOverlay(): Promise<{ image: string; overlay: string }> {
  const built = await cpuImage();
  const lock = readFileSync(join(ROOT, "python/requirements.lock"));
  const key = createHash("sha256")
    .update(built.sha256)
    .update(lock)
    .update(readFileSync(join(ROOT, "apptainer/provision.py")))
    .update(String(SIZE_MIB))
    .digest("hex")
    .slice(0, 12);
  const folder = imageFolder();
  const overlay = join(folder, `kitty-${key}.img`);
  const made = { image: built.path, overlay };
  await using turn = await takeTurn(join(folder, "overlays"));
  const manifest = existsSync(overlay) ? await readManifest(overlay).catch(() => undefined) : undefined;
  if (manifest?.state === "sealed") return made;
  removeOlder(folder);
  const wheels = downloadWheels(join(folder, "wheels"));
  await createOverlay(overlay, { sizeMiB: SIZE_MIB, signal: turn.lost });
  await provisionOverlay(overlay, { image: built.path, wheels, packageFolder: ROOT, signal: turn.lost });
  await sealOverlay(overlay);
  rmSync(wheels, { recursive: true, force: true });
  return made;
}

function torchVersion(): string {
  const code = "import importlib.metadata as m; print(m.version('torch'))";
  return spawnSync(PYTHON, ["-I", "-c", code], { encoding: "utf8" }).stdout.trim();
}

/** Of other locks or images, and half-made ones. */
function removeOlder(folder: string): void {
  for (const name of readdirSync(folder)) {
    if (/^kitty-[0-9a-f]{12}\.img/.test(name)) rmSync(join(folder, name), { recursive: true, force: true });
  }
}

function downloadWheels(folder: string): string {
  const { constraints = "" } = ownPlan(ROOT);
  const requirements = ["setuptools", `torch==${torchVersion()}`, "transformers", "numpy", "safetensors"];
  const platforms = PLATFORMS.flatMap((platform) => ["--platform", platform]);
  const flags = ["--quiet", "--disable-pip-version-check", "--no-input", "--dest", folder, "--constraint", constraints];
  const args = ["-I", "-m", "pip", "download", ...flags, ...TARGET, ...ABIS, ...platforms, ...requirements];
  const { status, stderr } = spawnSync(PYTHON, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`Cannot download wheels for the test overlay: ${stderr.trim()}`);
  return folder;
}

/**
 * A state folder of its own for a file of tests, and an overlay in it that is filled in before the first of them.
 * The caller disposes of `home` when its instances have ended.
 */
export function instanceHome() {
  const problem = instancesProblem();
  const home = temporaryFolder();
  const place = { image: "", overlay: "" };
  beforeAll(async () => {
    vi.stubEnv("KITTY_KV_HOME", home.path);
    if (problem === undefined) Object.assign(place, await ownTestOverlay(home.path));
  }, 600_000);
  return { problem, home, place };
}
