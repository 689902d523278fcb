import type { Config } from "../../index.js";
import { packageRoot } from "../../runner/package-root.js";
import type { Check } from "./check.js";
import { checkApptainer } from "./check-apptainer.js";
import { checkApptainerFiles } from "./check-apptainer-files.js";
import { checkDisk } from "./check-disk.js";
import { checkNode } from "./check-node.js";
import { checkProgram } from "./check-program.js";
import { checkPython } from "./check-python.js";

/** Every check that exists so far, in the order a person would go through them. */
export async function runChecks(config: Config): Promise<Check[]> {
  const root = packageRoot();
  const groups = await Promise.all([
    checkPython(config, root),
    checkApptainer(config.runner === "apptainer"),
    checkProgram("sbatch", ["--version"], "slurm"),
  ]);
  return [checkNode(), ...checkDisk(root), ...groups.flat(), ...checkApptainerFiles(config)];
}
