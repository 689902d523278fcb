import { join } from "node:path";
import { apptainerProgram } from "../apptainer/apptainer.js";
import { apptainerEnvironment } from "../apptainer/apptainer-environment.js";
import { execArguments, INSIDE, insideEnvironment, type ProgramFolders } from "../apptainer/instance-arguments.js";
import type { InstanceRecord } from "../apptainer/instance-record.js";
import { checkedPath } from "../apptainer/checked-path.js";
import { pythoniaDir } from "../bridge/pythonia.js";
import type { Command } from "../process/child.js";
import { packageRoot } from "./package-root.js";

/** Where `overlay provision` puts it. */
export const INSTANCE_PYTHON = "/opt/kitty/env/bin/python";

/** This package's programs that a worker runs. */
export function programFolders(): ProgramFolders {
  const [python, kernels] = ["python", "kernels"].map((name) => join(packageRoot(), name)) as [string, string];
  const check = (path: string): string => checkedPath(path, "a folder of this package");
  return { bridge: check(pythoniaDir()), python: check(python), kernels: check(kernels) };
}

export interface InstanceWorkerOptions {
  /** The Python executable as the instance sees it; null is the overlay's. */
  python: string | null;
  /** Further arguments of the worker. */
  engine: readonly string[];
  /** The `apptainer` program. */
  program?: string | undefined;
}

/** The command that runs a worker inside an instance, with its stdin and stdout as the bridge. */
export function instanceWorkerCommand(
  { name, visibleDevices }: Pick<InstanceRecord, "name" | "visibleDevices">,
  { python, engine, program }: InstanceWorkerOptions,
): Command {
  const worker = [python ?? INSTANCE_PYTHON, "-m", "kitty_kv.worker", "--pythonia", INSIDE.bridge];
  return {
    file: apptainerProgram(program),
    args: execArguments(name, [...worker, "--die-with-parent", ...engine]),
    env: { ...apptainerEnvironment(process.env), ...insideEnvironment(visibleDevices, process.env) },
  };
}
