import { z } from "zod";
import { createOverlay } from "../apptainer/create-overlay.js";
import type { OverlayManifest } from "../apptainer/overlay-manifest.js";
import { overlayStatus } from "../apptainer/overlay-status.js";
import { sealOverlay } from "../apptainer/seal-overlay.js";
import { verifyOverlay } from "../apptainer/verify-overlay.js";
import { reportError } from "../orchestrator/report-error.js";
import { endpoint, type Context, type Endpoint } from "./endpoint.js";
import { toKittyError } from "./error-status.js";
import { knownOverlays } from "./known-overlays.js";
import {
  createOverlayBodySchema,
  overlayChangedSchema,
  overlayListSchema,
  overlaySchema,
  provisionOverlayBodySchema,
  sealOverlayBodySchema,
  verifyOverlayBodySchema,
} from "./wire/overlays.js";

const changed = (description: string) => [{ description, schema: overlayChangedSchema }];

const listAll = endpoint({
  method: "get",
  path: "/api/overlays",
  tag: "overlays",
  summary: "List overlays",
  description:
    "Those that the configuration names, that instances use, or that lie in the folder `overlays` of the state folder.",
  answers: [{ description: "What each is and who uses it", schema: overlayListSchema }],
  handle: ({ services }) => knownOverlays(services.kitty.config),
});

const showOne = endpoint({
  method: "get",
  path: "/api/overlays/status",
  tag: "overlays",
  summary: "Show an overlay",
  query: z.strictObject({ path: z.string().regex(/^\//, "must be an absolute path") }),
  answers: [{ description: "What it is and who uses it", schema: overlaySchema }],
  handle: ({ query }) => overlayStatus(query.path),
});

const createOne = endpoint({
  method: "post",
  path: "/api/overlays",
  tag: "overlays",
  summary: "Create an overlay",
  description: "An empty one of at most `sizeMiB`; it is sparse, so disk is used as it fills.",
  body: createOverlayBodySchema,
  status: 201,
  answers: changed("The empty overlay"),
  handle: (context) =>
    change(context, "create", context.body.path, (options) =>
      createOverlay(context.body.path, { sizeMiB: context.body.sizeMiB, ...options }),
    ),
});

const provisionOne = endpoint({
  method: "post",
  path: "/api/overlays/provision",
  tag: "overlays",
  summary: "Provision an overlay",
  description:
    "Installs Kitty KV and what it needs, which takes minutes; what it says comes as events of topic `overlay`. The old content stays until all is done. A client that closes its connection gives it up.",
  body: provisionOverlayBodySchema,
  answers: changed("The overlay with its packages"),
  handle: (context) => {
    const { path, ...inputs } = context.body;
    const { containers } = context.services;
    return change(context, "provision", path, (options) =>
      containers.provisionOverlay(path, { ...inputs, ...options }),
    );
  },
});

const sealOne = endpoint({
  method: "post",
  path: "/api/overlays/seal",
  tag: "overlays",
  summary: "Seal an overlay",
  description: "Ends its writing: its hash goes into the manifest, and from here it is read-only.",
  body: sealOverlayBodySchema,
  answers: changed("The sealed overlay"),
  handle: (context) => {
    const { path, squashfs } = context.body;
    return change(context, "seal", path, (options) => sealOverlay(path, { isCompressed: squashfs, ...options }));
  },
});

const verifyOne = endpoint({
  method: "post",
  path: "/api/overlays/verify",
  tag: "overlays",
  summary: "Verify an overlay",
  description: "That a sealed overlay is what was sealed, and that it belongs to an image where one is named.",
  body: verifyOverlayBodySchema,
  answers: changed("The overlay, which is what was sealed"),
  handle: async ({ services, body, signal }) => {
    const path = services.containers.overlayOr(body.path);
    // A named overlay need not be of the configured image.
    const image =
      body.image ?? (body.path === undefined ? (services.kitty.config.apptainer.image ?? undefined) : undefined);
    return { path, manifest: await verifyOverlay(path, { image, signal }) };
  },
});

export const OVERLAY_ENDPOINTS: readonly Endpoint[] = [
  ...[listAll, showOne, createOne, provisionOne, sealOne, verifyOne],
];

interface ChangeOptions {
  signal: AbortSignal;
  onProgress: (text: string) => void;
}

/** Runs what changes an overlay, and tells in the event log what it says and what came of it. */
async function change(
  { services, signal }: Pick<Context, "services" | "signal">,
  operation: "create" | "provision" | "seal",
  path: string,
  work: (options: ChangeOptions) => Promise<OverlayManifest>,
): Promise<{ path: string; manifest: OverlayManifest }> {
  const tell = (type: string, data: Record<string, unknown>): void => {
    try {
      services.events.append({ topic: "overlay", type, id: path, data: { operation, ...data } });
    } catch (error) {
      // A log that is full ends no work on an overlay, and what a program prints comes where nobody could catch it.
      reportError(error);
    }
  };
  tell("overlay.started", {});
  try {
    const onProgress = (text: string): void => {
      tell("overlay.progress", { text: text.slice(0, 2000) });
    };
    const manifest = await work({ signal, onProgress });
    tell("overlay.finished", { state: manifest.state });
    return { path, manifest };
  } catch (error) {
    const { code, message } = toKittyError(error);
    tell("overlay.failed", { error: { code, message } });
    throw error;
  }
}
