import { existsSync } from "node:fs";
import { resolve } from "node:path";
import type { Config } from "../../index.js";
import { fileSystemOf } from "../../util/file-system-kind.js";
import { failed, ok, type Check } from "./check.js";

/** The image and overlay that a configuration names, and on what file system: leases need one that shows changes at once. */
export function checkApptainerFiles({ apptainer }: Pick<Config, "apptainer">): Check[] {
  return (["image", "overlay"] as const).flatMap((name) => {
    const path = apptainer[name];
    if (path === null) return [];
    if (existsSync(path)) return [ok(`${name} file`, `on ${fileSystemOf(resolve(path)).kind}, ${path}`)];
    return [failed(`${name} file`, `there is no ${path}`, `make it (docs/apptainer.md), or set apptainer.${name}`)];
  });
}
