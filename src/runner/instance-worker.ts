import { apptainerProgram } from "../apptainer/apptainer.js";
import { apptainerEnvironment } from "../apptainer/apptainer-environment.js";
import { execArguments, insideEnvironment, PROGRAM_FOLDER } from "../apptainer/instance-arguments.js";
import type { InstanceRecord } from "../apptainer/instance-record.js";
import type { Command } from "../process/child.js";

/** Where `overlay provision` puts it. */
export const INSTANCE_PYTHON = "/opt/kitty/env/bin/python";

export interface InstanceWorkerOptions {
  /** The Python executable as the instance sees it; null is the overlay's. */
  python: string | null;
  /** The `apptainer` program. */
  program?: string | undefined;
}

/** The command that runs a worker inside an instance, with its stdin and stdout as the bridge. */
export function instanceWorkerCommand(
  { name, visibleDevices }: Pick<InstanceRecord, "name" | "visibleDevices">,
  { python, program }: InstanceWorkerOptions,
): Command {
  const worker = [python ?? INSTANCE_PYTHON, "-m", "kitty_kv.worker", "--pythonia", PROGRAM_FOLDER];
  return {
    file: apptainerProgram(program),
    args: execArguments(name, [...worker, "--die-with-parent"]),
    env: { ...apptainerEnvironment(process.env), ...insideEnvironment(visibleDevices, process.env) },
  };
}
