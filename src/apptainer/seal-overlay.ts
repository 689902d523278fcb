import { chmod, stat } from "node:fs/promises";
import { KittyError, UnsupportedError } from "../errors.js";
import type { ApptainerOptions } from "./apptainer.js";
import { checkedPath } from "./checked-path.js";
import { hashFile } from "./hash-file.js";
import { acquireOverlayLease } from "./overlay-lease.js";
import { readManifest, writeManifest, type SealedManifest } from "./overlay-manifest.js";

/**
 * Ends an overlay's writing: its hash goes into the manifest, its file becomes read-only.
 * Sealing a sealed overlay checks that it still is what was sealed.
 * @throws UnsupportedError `overlay_not_provisioned`; KittyError `overlay_tampered`; OverlayInUseError; CancelledError
 */
export async function sealOverlay(
  path: string,
  { signal }: Pick<ApptainerOptions, "signal"> = {},
): Promise<SealedManifest> {
  const overlay = checkedPath(path, "an overlay");
  await readManifest(overlay);
  await using lease = await acquireOverlayLease(overlay, {
    kind: "writer",
    purpose: `seal overlay ${JSON.stringify(overlay)}`,
    signal,
  });
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
  // Read-only before it is hashed, so that nothing opens it for writing in between.
  await chmod(overlay, 0o444);
  const sha256 = await hashFile(overlay, stop);
  const sealedAt = new Date().toISOString();
  const sealed: SealedManifest = { ...manifest, state: "sealed", sealedAt, format: "ext3", sha256 };
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
