import { NotFoundError } from "../errors.js";
import { mapAtMost } from "../util/map-at-most.js";
import type { ApptainerOptions } from "./apptainer.js";
import { checkInstanceName } from "./instance-name.js";
import { listInstances } from "./list-instances.js";
import { stopInstance } from "./stop-instance.js";

const AT_ONCE = 4;

/**
 * Stops the named instances, or all of this machine.
 * @returns the names of those that were stopped
 * @throws ConfigError `invalid_instance_name` before any is stopped; otherwise what `stopInstance` throws
 */
export async function stopInstances(
  names: readonly string[] | "all",
  options: Pick<ApptainerOptions, "program"> = {},
): Promise<string[]> {
  if (names !== "all") {
    for (const name of names) checkInstanceName(name);
    return mapAtMost(names, AT_ONCE, async (name) => {
      await stopInstance(name, options);
      return name;
    });
  }
  const here = (await listInstances()).filter(({ state }) => state !== "elsewhere");
  return mapAtMost(here, AT_ONCE, async ({ name }) => {
    await stopInstance(name, options).catch((error: unknown) => {
      // Somebody else stopped it meanwhile.
      if (!(error instanceof NotFoundError)) throw error;
    });
    return name;
  });
}
