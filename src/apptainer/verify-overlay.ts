import { KittyError, UnsupportedError } from "../errors.js";
import type { ApptainerOptions } from "./apptainer.js";
import { checkedPath } from "./checked-path.js";
import { hashFile } from "./hash-file.js";
import { imageIdentity, type ImageIdentity } from "./image-identity.js";
import { knownHash } from "./known-hash.js";
import { acquireOverlayLease } from "./overlay-lease.js";
import { readManifest, type SealedManifest } from "./overlay-manifest.js";
import { checkHash } from "./seal-overlay.js";

export interface VerifyOverlayOptions extends Pick<ApptainerOptions, "signal"> {
  /** The image it is to be used with; without one only the overlay itself is checked. */
  image?: string | undefined;
  /** Takes a file that did not change since it was last hashed for what it was then. @default false */
  trustsUnchanged?: boolean | undefined;
}

/**
 * Checks that a sealed overlay is what was sealed and, when an image is given, that it was made for that image.
 * @throws UnsupportedError `overlay_not_sealed`; KittyError `overlay_tampered`, `overlay_image_mismatch`; OverlayInUseError
 */
export async function verifyOverlay(
  path: string,
  { image: imagePath, signal, trustsUnchanged = false }: VerifyOverlayOptions = {},
): Promise<SealedManifest> {
  const overlay = checkedPath(path, "an overlay");
  await readManifest(overlay);
  await using lease = await acquireOverlayLease(overlay, {
    kind: "reader",
    purpose: `verify overlay ${JSON.stringify(overlay)}`,
    signal,
  });
  const stop = signal === undefined ? lease.lost : AbortSignal.any([signal, lease.lost]);
  const manifest = await readManifest(overlay);
  if (manifest.state !== "sealed") {
    throw new UnsupportedError(
      `Cannot verify overlay ${JSON.stringify(overlay)}: it is ${manifest.state}, not sealed, so there is nothing to hold it to; run "kitty-kv overlay seal"`,
      { code: "overlay_not_sealed", details: { overlay, state: manifest.state } },
    );
  }
  const hash = trustsUnchanged ? knownHash : hashFile;
  await checkHash(overlay, manifest, stop, hash);
  if (imagePath === undefined) return manifest;
  const image = checkedPath(imagePath, "an image");
  checkImage(overlay, manifest, image, await imageIdentity(image, stop, hash));
  return manifest;
}

function checkImage(overlay: string, manifest: SealedManifest, image: string, { sha256 }: ImageIdentity): void {
  if (sha256 === manifest.image.sha256) return;
  throw new KittyError(
    `Cannot use overlay ${JSON.stringify(overlay)} with image ${JSON.stringify(image)}: it was provisioned for the image with SHA-256 ${manifest.image.sha256} and this one has ${sha256}; provision an overlay for this image`,
    { code: "overlay_image_mismatch", details: { overlay, image, expected: manifest.image.sha256, found: sha256 } },
  );
}
