import { stat } from "node:fs/promises";
import { NotFoundError } from "../errors.js";
import { checkedPath } from "./checked-path.js";
import { listEntries, type LeaseHolder } from "./lease-entry.js";
import { readManifest, type OverlayManifest } from "./overlay-manifest.js";

export interface OverlayStatus {
  path: string;
  sizeBytes: number;
  /** What it takes on the disk. */
  allocatedBytes: number;
  manifest: OverlayManifest;
  /** Who writes or reads it now; dead holders are left out. */
  holders: readonly LeaseHolder[];
}

/**
 * What an overlay is and who uses it; changes nothing and waits for nobody.
 * @throws NotFoundError `overlay_not_found`, `overlay_manifest_not_found`
 */
export async function overlayStatus(path: string): Promise<OverlayStatus> {
  const overlay = checkedPath(path, "an overlay");
  const file = await stat(overlay).catch((cause: unknown) => {
    if ((cause as NodeJS.ErrnoException).code !== "ENOENT") throw cause;
    throw new NotFoundError(
      `Cannot find overlay ${JSON.stringify(overlay)}: there is no such file, make one with "kitty-kv overlay create"`,
      { code: "overlay_not_found", details: { overlay }, cause },
    );
  });
  const [manifest, entries] = await Promise.all([readManifest(overlay), listEntries(overlay)]);
  const holders = entries.map(({ holder }) => holder);
  return { path: overlay, sizeBytes: file.size, allocatedBytes: file.blocks * 512, manifest, holders };
}
