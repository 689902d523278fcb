import { randomBytes } from "node:crypto";
import { ConfigError } from "../errors.js";

/** A name that no other instance has, on this machine and on those that share its home folders. */
export function newInstanceName(): string {
  return `kitty-${randomBytes(6).toString("hex")}`;
}

/**
 * Checks that a name is one of ours: Apptainer itself would take `*` for all instances, and a dash for an option.
 * @throws ConfigError `invalid_instance_name`
 */
export function checkInstanceName(name: string): string {
  if (/^kitty-[0-9a-f]{12}$/.test(name)) return name;
  throw new ConfigError(
    `Cannot use ${JSON.stringify(name)} as an instance: names are "kitty-" and 12 digits or letters a to f, see "kitty-kv instance list"`,
    { code: "invalid_instance_name", details: { name } },
  );
}
