import { existsSync } from "node:fs";
import { mkdir, rename, rm, stat } from "node:fs/promises";
import { randomUUID } from "node:crypto";
import { dirname } from "node:path";
import { ConfigError } from "../errors.js";
import { runApptainer, type ApptainerOptions } from "./apptainer.js";
import { checkedPath } from "./checked-path.js";
import { acquireOverlayLease } from "./overlay-lease.js";
import { manifestPath, writeManifest, type OverlayManifest } from "./overlay-manifest.js";
import { removeLeftovers } from "./remove-leftovers.js";

// Apptainer's own limit.
const SMALLEST_MIB = 64;

export interface CreateOverlayOptions extends ApptainerOptions {
  /** The most it can hold; it is sparse, so disk is used as it fills. */
  sizeMiB: number;
}

/**
 * Makes an empty ext3 overlay and its manifest.
 * @throws ConfigError `overlay_exists`, `invalid_argument`, `invalid_path`; OverlayInUseError; what `runApptainer` throws
 */
export async function createOverlay(path: string, options: CreateOverlayOptions): Promise<OverlayManifest> {
  const overlay = checkedPath(path, "an overlay");
  const { sizeMiB, signal } = options;
  if (!Number.isSafeInteger(sizeMiB) || sizeMiB < SMALLEST_MIB) {
    throw new ConfigError(
      `Cannot create overlay ${JSON.stringify(overlay)}: its size must be a whole number of MiB >= ${String(SMALLEST_MIB)}, got ${String(sizeMiB)}`,
      { details: { sizeMiB } },
    );
  }
  await mkdir(dirname(overlay), { recursive: true });
  const purpose = `create overlay ${JSON.stringify(overlay)}`;
  await using lease = await acquireOverlayLease(overlay, { kind: "writer", purpose, signal });
  if (existsSync(overlay) || existsSync(manifestPath(overlay))) {
    throw new ConfigError(
      `Cannot create overlay ${JSON.stringify(overlay)}: it, or its manifest, exists; remove both or choose another name`,
      { code: "overlay_exists", details: { overlay } },
    );
  }
  await removeLeftovers(overlay, "creating");
  const temporary = `${overlay}.creating-${randomUUID()}`;
  try {
    await runApptainer(["overlay", "create", "--sparse", "--size", String(sizeMiB), temporary], {
      purpose,
      signal: signal === undefined ? lease.lost : AbortSignal.any([signal, lease.lost]),
      program: options.program,
      onLine: options.onProgress,
    });
    const { size } = await stat(temporary);
    const manifest = { version: 1, state: "empty", createdAt: new Date().toISOString(), sizeBytes: size } as const;
    await rename(temporary, overlay);
    await writeManifest(overlay, manifest);
    return manifest;
  } finally {
    await rm(temporary, { force: true });
  }
}
