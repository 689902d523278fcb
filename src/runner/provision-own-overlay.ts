import type { OverlayManifest } from "../apptainer/overlay-manifest.js";
import { provisionOverlay, type ProvisionOverlayOptions } from "../apptainer/provision-overlay.js";
import { packageRoot } from "./package-root.js";

/** As `provisionOverlay`, with the programs and the lock file of this package. */
export function provisionOwnOverlay(
  path: string,
  options: Omit<ProvisionOverlayOptions, "packageFolder">,
): Promise<OverlayManifest> {
  return provisionOverlay(path, { ...options, packageFolder: packageRoot() });
}
