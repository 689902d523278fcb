import { chmod, stat } from "node:fs/promises";
import { KittyError, UnsupportedError } from "../errors.js";
import type { ApptainerOptions } from "./apptainer.js";
import { checkedPath } from "./checked-path.js";
import { compressOverlay, isSquashfs } from "./compress-overlay.js";
import { hashFile } from "./hash-file.js";
import { acquireOverlayLease } from "./overlay-lease.js";
import { readManifest, writeManifest, type SealedManifest } from "./overlay-manifest.js";

export interface SealOverlayOptions extends Pick<ApptainerOptions, "signal" | "onProgress"> {
  /** Makes a squashfs image of it: smaller, and read faster through FUSE. @default false: it stays ext3 */
  isCompressed?: boolean | undefined;
}

/**
 * Ends an overlay's writing: its hash goes into the manifest, its file becomes read-only.
 * Sealing a sealed overlay checks that it still is what was sealed, and changes nothing.
 * @throws UnsupportedError `overlay_not_provisioned`; KittyError `overlay_tampered`; OverlayInUseError; CancelledError
 */
export async function sealOverlay(path: string, options: SealOverlayOptions = {}): Promise<SealedManifest> {
  const { signal, onProgress, isCompressed = false } = options;
  const overlay = checkedPath(path, "an overlay");
  await readManifest(overlay);
  const purpose = `seal overlay ${JSON.stringify(overlay)}`;
  await using lease = await acquireOverlayLease(overlay, { kind: "writer", purpose, signal });
  const manifest = await readManifest(overlay);
  if (manifest.state === "empty") {
    throw new UnsupportedError(
      `Cannot seal overlay ${JSON.stringify(overlay)}: it is empty, run "kitty-kv overlay provision" first`,
      { code: "overlay_not_provisioned", details: { overlay } },
    );
  }
  const stop = signal === undefined ? lease.lost : AbortSignal.any([signal, lease.lost]);
  if (manifest.state === "sealed") {
    await checkHash(overlay, manifest, stop);
    return manifest;
  }
  // It is one already when an earlier seal was killed between its last two steps.
  if (isCompressed && !(await isSquashfs(overlay)))
    await compressOverlay(overlay, { purpose, signal: stop, onProgress });
  // Read-only before it is hashed, so that nothing opens it for writing in between.
  await chmod(overlay, 0o444);
  const sha256 = await hashFile(overlay, stop);
  const sealedAt = new Date().toISOString();
  const format = (await isSquashfs(overlay)) ? "squashfs" : "ext3";
  const { size: sizeBytes } = await stat(overlay);
  const sealed: SealedManifest = { ...manifest, state: "sealed", sealedAt, sizeBytes, format, sha256 };
  await writeManifest(overlay, sealed);
  return sealed;
}

/**
 * @param hash how the file's hash is found out
 * @throws KittyError `overlay_tampered` when the file is not what was sealed
 */
export async function checkHash(
  overlay: string,
  manifest: SealedManifest,
  signal?: AbortSignal,
  hash: typeof hashFile = hashFile,
): Promise<void> {
  const { size } = await stat(overlay);
  const sha256 = size === manifest.sizeBytes ? await hash(overlay, signal) : undefined;
  if (sha256 === manifest.sha256) return;
  const found = sha256 === undefined ? `${String(size)} bytes` : `SHA-256 ${sha256}`;
  const expected = sha256 === undefined ? `${String(manifest.sizeBytes)} bytes` : `SHA-256 ${manifest.sha256}`;
  throw new KittyError(
    `Cannot trust overlay ${JSON.stringify(overlay)}: it was sealed with ${expected} and now has ${found}; do not use it, make it anew`,
    { code: "overlay_tampered", details: { overlay, expected, found } },
  );
}
