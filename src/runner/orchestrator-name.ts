import { randomBytes } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { writeWhole } from "./slurm-files.js";

/** A name for all submissions from a shared folder, so that no other orchestrator's are taken for ours. */
export function orchestratorName(folder: string): string {
  const path = join(folder, "slurm", "orchestrator");
  if (existsSync(path)) return readFileSync(path, "utf8").trim();
  const name = randomBytes(4).toString("hex");
  writeWhole(path, `${name}\n`, true);
  return name;
}
