import { readFile } from "node:fs/promises";
import { z } from "zod";
import { KittyError, NotFoundError } from "../errors.js";
import { writeAtomically } from "./write-atomically.js";

const digest = z.string().regex(/^[0-9a-f]{64}$/);
const time = z.string();

const created = { version: z.literal(1), createdAt: time, sizeBytes: z.number().int().positive() };
const provisioned = {
  ...created,
  provisionedAt: time,
  /** The image whose Python and C library the packages were installed for. */
  image: z.object({ sha256: digest, sizeBytes: z.number().int().positive() }),
  python: z.string(),
  packages: z.record(z.string(), z.string()),
};
const sealed = { ...provisioned, sealedAt: time, format: z.enum(["ext3", "squashfs"]), sha256: digest };

const manifestSchema = z.discriminatedUnion("state", [
  z.strictObject({ state: z.literal("empty"), ...created }),
  z.strictObject({ state: z.literal("provisioned"), ...provisioned }),
  z.strictObject({ state: z.literal("sealed"), ...sealed }),
]);

/** What is known of an overlay; kept beside it, and true of its content only once it is sealed. */
export type OverlayManifest = z.output<typeof manifestSchema>;
export type SealedManifest = Extract<OverlayManifest, { state: "sealed" }>;

export function manifestPath(overlay: string): string {
  return `${overlay}.manifest.json`;
}

/** @throws NotFoundError `overlay_manifest_not_found`; KittyError `overlay_manifest_invalid` */
export async function readManifest(overlay: string): Promise<OverlayManifest> {
  const path = manifestPath(overlay);
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ENOENT") throw cause;
    throw new NotFoundError(
      `Cannot use overlay ${JSON.stringify(overlay)}: it has no manifest ${JSON.stringify(path)}, make overlays with "kitty-kv overlay create"`,
      { code: "overlay_manifest_not_found", details: { overlay, manifest: path }, cause },
    );
  }
  try {
    return manifestSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new KittyError(
      `Cannot use overlay ${JSON.stringify(overlay)}: its manifest ${JSON.stringify(path)} is damaged or of another version, make the overlay anew`,
      { code: "overlay_manifest_invalid", details: { overlay, manifest: path }, cause },
    );
  }
}

export async function writeManifest(overlay: string, manifest: OverlayManifest): Promise<void> {
  await writeAtomically(manifestPath(overlay), `${JSON.stringify(manifest, null, 2)}\n`);
}
