import type { Config } from "../config/schema.js";
import { ConfigError } from "../errors.js";
import { provisionOwnOverlay } from "../runner/provision-own-overlay.js";
import { startInstances } from "../runner/start-instances.js";

type Settings = Parameters<typeof startInstances>[0];
/** What differs from the configuration. */
type SettingsInput = { [Key in keyof Settings]?: Settings[Key] | undefined };
type Provision = Omit<Parameters<typeof provisionOwnOverlay>[1], "image">;

export interface StartOptions {
  count: number;
  signal: AbortSignal;
  onProgress?: ((line: string) => void) | undefined;
}

/** Instances and overlays with this package's own programs, as the configuration says where a call does not. */
export class Containers {
  readonly #config: Config;

  constructor(config: Config) {
    this.#config = config;
  }

  /** @throws ConfigError `apptainer_not_configured`, and what `startInstances` throws */
  startInstances(input: SettingsInput, options: StartOptions) {
    const { modelFolders, nvidia, network, memoryMiB, cpus } = this.#config.apptainer;
    const defaults = { modelFolders, hasNvidia: nvidia, network, memoryMiB, cpus };
    const given = Object.fromEntries(Object.entries(input).filter(([, value]) => value !== undefined));
    const settings = {
      ...defaults,
      ...given,
      image: this.imageOr(input.image),
      overlay: this.overlayOr(input.overlay),
    };
    return startInstances(settings, { ...options, worker: this.#config.worker });
  }

  /** @throws ConfigError `apptainer_not_configured`, and what `provisionOverlay` throws */
  provisionOverlay(path: string, { image, ...options }: Provision & { image?: string | undefined }) {
    return provisionOwnOverlay(path, { ...options, image: this.imageOr(image) });
  }

  /** An image that was named, or the configuration's. */
  imageOr(image: string | undefined): string {
    return image ?? this.#config.apptainer.image ?? missing("image");
  }

  /** An overlay that was named, or the configuration's. */
  overlayOr(overlay: string | undefined): string {
    return overlay ?? this.#config.apptainer.overlay ?? missing("overlay");
  }
}

function missing(what: "image" | "overlay"): never {
  throw new ConfigError(
    `Cannot use containers: no ${what} was named and apptainer.${what} is not set, name one or set it`,
    {
      code: "apptainer_not_configured",
      details: { path: what },
    },
  );
}
