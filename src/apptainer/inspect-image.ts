import { readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { KittyError } from "../errors.js";
import { runApptainer, type ApptainerOptions } from "./apptainer.js";
import { checkedPath } from "./checked-path.js";
import { imageIdentity, type ImageIdentity } from "./image-identity.js";
import { readManifest } from "./overlay-manifest.js";

const inspectSchema = z.object({
  data: z.object({ attributes: z.object({ labels: z.record(z.string(), z.string()).nullish() }) }),
});

export interface ImageInspection extends ImageIdentity {
  path: string;
  labels: Readonly<Record<string, string>>;
  /** Overlays in the image's folder that were provisioned for it. */
  overlays: readonly { path: string; state: "provisioned" | "sealed"; packages: Readonly<Record<string, string>> }[];
}

/**
 * What an image is: its labels, size and hash, and which overlays beside it belong to it.
 * @throws NotFoundError `image_not_found`; KittyError `apptainer_failed`, `inspect_unreadable`; CancelledError
 */
export async function inspectImage(path: string, { signal, program }: ApptainerOptions = {}): Promise<ImageInspection> {
  const image = checkedPath(path, "an image");
  const identity = await imageIdentity(image, signal);
  const purpose = `inspect image ${JSON.stringify(image)}`;
  const stdout = await runApptainer(["inspect", "--json", image], { purpose, signal, program });
  return {
    path: image,
    ...identity,
    labels: parseLabels(image, stdout),
    overlays: await findOverlays(image, identity),
  };
}

function parseLabels(image: string, stdout: string): Record<string, string> {
  try {
    return inspectSchema.parse(JSON.parse(stdout)).data.attributes.labels ?? {};
  } catch (cause) {
    throw new KittyError(
      `Cannot inspect image ${JSON.stringify(image)}: this Apptainer's answer is not the JSON that 1.2 to 1.5 give, use one of those`,
      { code: "inspect_unreadable", details: { image, stdout }, cause },
    );
  }
}

async function findOverlays(image: string, { sha256 }: ImageIdentity): Promise<ImageInspection["overlays"]> {
  const folder = dirname(image);
  const names = (await readdir(folder)).filter((name) => name.endsWith(".manifest.json")).sort();
  const found = await Promise.all(
    names.map(async (name) => {
      const path = join(folder, name.slice(0, -".manifest.json".length));
      // Other programs have manifests too.
      const manifest = await readManifest(path).catch(() => undefined);
      if (manifest === undefined || manifest.state === "empty" || manifest.image.sha256 !== sha256) return [];
      return [{ path, state: manifest.state, packages: manifest.packages }];
    }),
  );
  return found.flat();
}
