import type { Config } from "../../index.js";
import { packageRoot } from "../../runner/package-root.js";
import type { Check } from "./check.js";
import { checkApptainer } from "./check-apptainer.js";
import { checkApptainerFiles } from "./check-apptainer-files.js";
import { checkDisk } from "./check-disk.js";
import { checkNode } from "./check-node.js";
import { checkPython } from "./check-python.js";
import { checkSlurm } from "./check-slurm.js";

/** Every check that exists so far, in the order a person would go through them. */
export async function runChecks(config: Config): Promise<Check[]> {
  const root = packageRoot();
  const groups = await Promise.all([
    checkPython(config, root),
    checkApptainer(config.runner === "apptainer" || isInContainersOnSlurm(config)),
    checkSlurm(config),
  ]);
  return [checkNode(), ...checkDisk(root), ...groups.flat(), ...checkApptainerFiles(config)];
}

function isInContainersOnSlurm({ runner, slurm }: Config): boolean {
  return runner === "slurm" && slurm.container === "apptainer";
}
