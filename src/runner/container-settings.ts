import { statSync } from "node:fs";
import type { InstanceSettings } from "../apptainer/instance-settings.js";
import type { Config } from "../config/schema.js";
import { ConfigError } from "../errors.js";

/**
 * What containers are made of and see, as the configuration says.
 * @throws ConfigError `apptainer_not_configured`
 */
export function containerSettings({ apptainer, model }: Pick<Config, "apptainer" | "model">): InstanceSettings {
  const { image, overlay, modelFolders, nvidia, network, memoryMiB, cpus } = apptainer;
  if (image === null || overlay === null) {
    const missing = [image === null ? "image" : "", overlay === null ? "overlay" : ""].filter((name) => name !== "");
    throw new ConfigError(
      `Cannot use containers: apptainer.${missing.join(" and apptainer.")} must be set, make them with "kitty-kv image build" and "kitty-kv overlay create", "provision" and "seal"`,
      { code: "apptainer_not_configured", details: { missing } },
    );
  }
  // The configured model's folder need not be listed as well; a hub id is none.
  const isFolder = model !== null && statSync(model, { throwIfNoEntry: false })?.isDirectory() === true;
  const folders = isFolder ? [...modelFolders, model] : modelFolders;
  return { image, overlay, modelFolders: folders, hasNvidia: nvidia, network, memoryMiB, cpus };
}
