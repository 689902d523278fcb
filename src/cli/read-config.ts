import { loadConfig, resolveConfig, type Config } from "../index.js";
import type { GlobalOptions } from "./create-program.js";

/** The configuration file that the command names, or the defaults. */
export async function readConfig({ config }: GlobalOptions): Promise<Config> {
  return config === undefined ? resolveConfig() : await loadConfig(config);
}
