import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, mkdir, open, readFile, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { CancelledError, ConfigError, KittyError, UnsupportedError } from "../errors.js";
import { runApptainer, runHelper, type ApptainerOptions } from "./apptainer.js";
import { checkedPath } from "./checked-path.js";
import { imageIdentity } from "./image-identity.js";
import { acquireOverlayLease } from "./overlay-lease.js";
import { readManifest, writeManifest, type OverlayManifest } from "./overlay-manifest.js";
import { removeLeftovers } from "./remove-leftovers.js";
import { ownPlan, writePlan, type ProvisionPlan } from "./provision-plan.js";

const resultSchema = z.object({ python: z.string(), packages: z.record(z.string(), z.string()) });

export interface ProvisionOverlayOptions extends ApptainerOptions {
  /** The SIF image whose Python the packages are for. */
  image: string;
  /** The folder of this package, which holds `apptainer/`, `kernels/` and `python/`. */
  packageFolder: string;
  /** A folder of wheels: nothing is taken from the network then. */
  wheels?: string | undefined;
  /** What to install. @default this repository's packages and what they need */
  plan?: ProvisionPlan | undefined;
  /** Without a plan: the versions to install, as pip reads constraints. @default the package's lock file */
  constraints?: string | undefined;
}

/**
 * Installs packages, inside the image, into a new overlay that replaces the old one in one step once everything is
 * installed and checked, so a failure, a signal or a kill leaves the old one as it was.
 * @throws UnsupportedError `overlay_sealed`; OverlayInUseError; KittyError `provision_failed`, `overlay_full`; CancelledError
 */
export async function provisionOverlay(path: string, options: ProvisionOverlayOptions): Promise<OverlayManifest> {
  const overlay = checkedPath(path, "an overlay");
  const image = checkedPath(options.image, "an image");
  const wheels = options.wheels === undefined ? undefined : checkedPath(options.wheels, "a folder of wheels");
  if (wheels !== undefined) await checkWheels(wheels);
  checkConstraints(options.constraints);
  const purpose = `provision overlay ${JSON.stringify(overlay)}`;
  // Before the lease, which would make a folder beside an overlay that does not exist.
  await readManifest(overlay);
  await using lease = await acquireOverlayLease(overlay, { kind: "writer", purpose, signal: options.signal });
  const signal = AbortSignal.any([lease.lost, ...(options.signal === undefined ? [] : [options.signal])]);
  const manifest = await readManifest(overlay);
  if (manifest.state === "sealed") throw isSealed(overlay);
  const { createdAt, sizeBytes } = manifest;
  const identity = await imageIdentity(image, signal);
  await removeLeftovers(overlay, "provisioning");
  const folder = `${overlay}.provisioning-${randomUUID()}`;
  try {
    const copy = join(folder, "overlay.img");
    const result = await installInto(copy, {
      ...options,
      ...{ overlay, image, wheels, folder, sizeBytes, purpose, signal },
    });
    await replaceDurably(copy, overlay, signal);
    const provisionedAt = new Date().toISOString();
    const provisioned = { version: 1, state: "provisioned", createdAt, sizeBytes, provisionedAt } as const;
    const next = { ...provisioned, image: identity, ...result };
    await writeManifest(overlay, next);
    return next;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

interface InstallContext extends ProvisionOverlayOptions {
  overlay: string;
  folder: string;
  sizeBytes: number;
  purpose: string;
  signal: AbortSignal;
}

/**
 * Packages are installed into a folder, which becomes the overlay as a whole: one program writes an image in seconds,
 * where tens of thousands of files through fuse2fs take minutes.
 */
async function installInto(copy: string, context: InstallContext): Promise<z.output<typeof resultSchema>> {
  const { overlay, folder, purpose, signal, packageFolder, wheels, sizeBytes, onProgress: onLine } = context;
  const [input, scratch, content] = [join(folder, "input"), join(folder, "tmp"), join(folder, "content")];
  await Promise.all([input, scratch].map((path) => mkdir(path, { recursive: true, mode: 0o700 })));
  const installed = await makeContentFolders(content);
  const script = join(packageFolder, "apptainer", "provision.py");
  await writePlan(input, script, context.plan ?? ownPlan(packageFolder, context.constraints), wheels !== undefined);
  const binds = [`${scratch}:/tmp`, `${input}:/mnt:ro`, `${installed}:/opt/kitty`];
  if (wheels !== undefined) binds.push(`${wheels}:/media:ro`);
  const args = [
    ...["exec", "--containall", "--cleanenv", "--no-home", ...(process.getuid?.() === 0 ? [] : ["--fakeroot"])],
    ...binds.flatMap((bind) => ["--bind", bind]),
    ...["--pwd", "/", context.image, "python3", "-I", "/mnt/provision.py"],
  ];
  const helper = { purpose, signal, onLine };
  try {
    await runApptainer(args, { ...helper, program: context.program, keepsStdinOpen: true });
    onLine?.("Provision: write the overlay");
    await makeFile(copy, sizeBytes);
    const flags = ["-q", "-F", "-t", "ext3", "-d", content];
    await runHelper("mke2fs", [...flags, "--", copy], { ...helper, debianPackage: "e2fsprogs" });
  } catch (error) {
    throw explain(error, overlay);
  }
  return resultSchema.parse(JSON.parse(await readFile(join(scratch, "result.json"), "utf8")));
}

/** The form Apptainer gives an overlay's inside. @returns what the container writes as /opt/kitty */
async function makeContentFolders(content: string): Promise<string> {
  const installed = join(content, "upper", "opt", "kitty");
  await mkdir(installed, { recursive: true });
  await mkdir(join(content, "work"));
  // As every container's user has to see them, whatever this process's umask is.
  for (const path of [content, join(content, "upper"), join(content, "upper", "opt"), installed])
    await chmod(path, 0o755);
  return installed;
}

async function makeFile(path: string, sizeBytes: number): Promise<void> {
  const file = await open(path, "wx", 0o644);
  try {
    await file.truncate(sizeBytes);
  } finally {
    await file.close();
  }
}

function explain(error: unknown, overlay: string): unknown {
  if (!(error instanceof KittyError) || !["apptainer_failed", "program_failed"].includes(error.code)) return error;
  const stderrTail = z.array(z.string()).parse(error.details["stderrTail"]);
  if (stderrTail.some((line) => /No space left on device|Errno 28\b|Could not allocate (block|inode)/.test(line))) {
    return new KittyError(
      `Cannot provision overlay ${JSON.stringify(overlay)}: it, or the disk below it, is full; create a larger one (--size-mib) or free disk space`,
      { code: "overlay_full", details: error.details, cause: error },
    );
  }
  const found = stderrTail.findLast((line) => /error/i.test(line)) ?? error.message;
  return new KittyError(
    `Cannot provision overlay ${JSON.stringify(overlay)}: a step failed (${found.trim()}), see what it printed; the overlay is as it was`,
    { code: "provision_failed", details: error.details, cause: error },
  );
}

/** The copy takes the overlay's place only after the disk has all of it. */
async function replaceDurably(copy: string, overlay: string, signal: AbortSignal): Promise<void> {
  const file = await open(copy, "r+");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
  if (signal.aborted)
    throw new CancelledError(`Cannot provision overlay ${JSON.stringify(overlay)}: it was interrupted`);
  await rename(copy, overlay);
}

async function checkWheels(wheels: string): Promise<void> {
  const names = await readdir(wheels).catch(() => []);
  if (names.some((name) => name.endsWith(".whl"))) return;
  throw new ConfigError(
    `Cannot provision from ${JSON.stringify(wheels)}: it is no folder with wheels; fill it with "pip download" or "pip wheel" for the image's Python`,
    { details: { wheels } },
  );
}

function checkConstraints(file: string | undefined): void {
  if (file === undefined || existsSync(file)) return;
  throw new ConfigError(`Cannot provision: there are no constraints at ${JSON.stringify(file)}, check the path`, {
    details: { constraints: file },
  });
}

function isSealed(overlay: string): UnsupportedError {
  return new UnsupportedError(
    `Cannot provision overlay ${JSON.stringify(overlay)}: it is sealed, and others may rely on its content; create a new one`,
    { code: "overlay_sealed", details: { overlay } },
  );
}
