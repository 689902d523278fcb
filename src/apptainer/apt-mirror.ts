import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

/**
 * The mirror that a Debian machine's own apt takes packages from.
 * @returns undefined on other systems, whose mirrors do not have Debian, and where apt names none
 */
export function aptMirror(etc = "/etc"): string | undefined {
  if (!/^ID="?debian"?$/m.test(readIfThere(join(etc, "os-release")))) return undefined;
  const folder = join(etc, "apt", "sources.list.d");
  const files = listIfThere(folder).map((name) => join(folder, name));
  const texts = [join(etc, "apt", "sources.list"), ...files].map(readIfThere);
  const addresses = texts.flatMap((text) => [
    ...text.matchAll(/^(?:URIs:|deb\s+(?:\[[^\]]*\]\s+)?)\s*(https?:\/\/\S+)/gm),
  ]);
  // Other archives (security updates, other projects) do not have the base system.
  return addresses.map(([, address = ""]) => address.replace(/\/$/, "")).find((address) => address.endsWith("/debian"));
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // What cannot be read names no mirror; building then asks for one.
    return "";
  }
}

function listIfThere(folder: string): string[] {
  try {
    return readdirSync(folder).filter((name) => /\.(list|sources)$/.test(name));
  } catch {
    return [];
  }
}
