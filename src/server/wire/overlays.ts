import { z } from "zod";

const absolutePath = z.string().regex(/^\//, "must be an absolute path");
const bytes = z.number().int().nonnegative();

export const overlayManifestSchema = z.looseObject({
  state: z.enum(["empty", "provisioned", "sealed"]),
  createdAt: z.string(),
  /** The most it can hold, or the size of what was sealed. */
  sizeBytes: bytes,
  provisionedAt: z.string().optional(),
  image: z.looseObject({ sha256: z.string() }).optional(),
  python: z.string().optional(),
  packages: z.record(z.string(), z.string()).optional(),
  sealedAt: z.string().optional(),
  format: z.enum(["ext3", "squashfs"]).optional(),
  sha256: z.string().optional(),
});

export const overlaySchema = z.object({
  path: z.string(),
  sizeBytes: bytes,
  /** What it takes on the disk. */
  allocatedBytes: bytes,
  manifest: overlayManifestSchema,
  /** Who writes or reads it now. */
  holders: z.array(
    z.looseObject({
      kind: z.enum(["writer", "reader"]),
      purpose: z.string(),
      since: z.string(),
      pid: z.number().int(),
      host: z.string(),
    }),
  ),
});

export const overlayListSchema = z.object({
  overlays: z.array(overlaySchema),
  /** Those that cannot be read, and why. */
  unreadable: z.array(z.object({ path: z.string(), error: z.looseObject({ code: z.string(), message: z.string() }) })),
});

export const createOverlayBodySchema = z.strictObject({ path: absolutePath, sizeMiB: z.number().int().min(64) });

export const provisionOverlayBodySchema = z.strictObject({
  path: absolutePath,
  /** The configuration's `apptainer.image` without it. */
  image: absolutePath.optional(),
  /** A folder of wheels: nothing is taken from the network then. */
  wheels: absolutePath.optional(),
  /** Versions to install, as pip reads constraints; the package's lock file without it. */
  constraints: absolutePath.optional(),
});

export const sealOverlayBodySchema = z.strictObject({
  path: absolutePath,
  /** Makes a squashfs image of it. */
  squashfs: z.boolean().default(false),
});

/** The configuration's overlay and image where they are left out. */
export const verifyOverlayBodySchema = z.strictObject({
  path: absolutePath.optional(),
  image: absolutePath.optional(),
});

export const overlayChangedSchema = z.object({ path: z.string(), manifest: overlayManifestSchema });

export type WireOverlay = z.output<typeof overlaySchema>;
export type OverlayList = z.output<typeof overlayListSchema>;
