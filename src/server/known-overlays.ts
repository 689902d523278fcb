import { readdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { listInstances } from "../apptainer/list-instances.js";
import { overlayStatus, type OverlayStatus } from "../apptainer/overlay-status.js";
import type { Config } from "../config/schema.js";
import { toKittyError } from "./error-status.js";
import { stateFolder } from "../util/state-folder.js";

export interface KnownOverlays {
  overlays: OverlayStatus[];
  unreadable: { path: string; error: { code: string; message: string } }[];
}

/**
 * Overlays may lie anywhere; known are the configuration's, those of instances, and those in the folder `overlays` of the
 * state folder.
 */
export async function knownOverlays({ apptainer }: Config): Promise<KnownOverlays> {
  const folder = join(stateFolder(), "overlays");
  const names = await readdir(folder).catch(() => []);
  const manifests = names.filter((name) => name.endsWith(".manifest.json"));
  const instances = await listInstances();
  const paths = new Set([
    ...(apptainer.overlay === null ? [] : [resolve(apptainer.overlay)]),
    ...instances.map(({ overlay }) => overlay),
    ...manifests.map((name) => join(folder, name.slice(0, -".manifest.json".length))),
  ]);
  const found: KnownOverlays = { overlays: [], unreadable: [] };
  for (const path of paths) {
    try {
      found.overlays.push(await overlayStatus(path));
    } catch (error) {
      const { code, message } = toKittyError(error);
      found.unreadable.push({ path, error: { code, message } });
    }
  }
  return found;
}
