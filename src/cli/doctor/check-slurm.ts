import { NotFoundError, KittyError, clusterStatus, type Config } from "../../index.js";
import { checkOnSlurm } from "../../runner/slurm-check.js";
import { probeNode } from "../../runner/slurm-probe.js";
import { failed, info, ok, type Check } from "./check.js";

const PROBE_TIMEOUT_MS = 60_000;

/** What Slurm is here and, where the configuration runs jobs on it, whether they would be taken and find what they need. */
export async function checkSlurm(config: Config): Promise<Check[]> {
  const isNeeded = config.runner === "slurm";
  try {
    const { cluster, version, hasAccounting, partitions } = await clusterStatus();
    const accounting = hasAccounting ? "with accounting" : "without accounting";
    const found = `${version}, cluster ${cluster}, ${accounting}`;
    if (!isNeeded) return [info("slurm", `${found}; only "runner: slurm" uses it`)];
    const usable = partitions.filter(({ isUp, nodes }) => isUp && nodes.down < nodes.total).map(({ name }) => name);
    const list = usable.length === 0 ? "none has a node that is up" : usable.join(", ");
    return [
      ok("slurm", found),
      usable.length === 0 ? failed("slurm partitions", list, "ask the site") : ok("slurm partitions", list),
      ...(await checkJobs(config)),
    ];
  } catch (error) {
    if (!(error instanceof KittyError)) throw error;
    if (isNeeded) return [failed("slurm", error.message, "run this on a login node of the cluster")];
    const found = error instanceof NotFoundError ? "no Slurm commands on PATH" : error.message;
    return [info("slurm", `${found}; only "runner: slurm" needs it`)];
  }
}

async function checkJobs(config: Config): Promise<Check[]> {
  const name = "slurm job";
  try {
    await checkOnSlurm(config, [{ resources: {}, priority: 0 }]);
    const { node, missing } = await probeNode(config, PROBE_TIMEOUT_MS);
    if (node === null) {
      const seconds = String(PROBE_TIMEOUT_MS / 1000);
      return [
        info(
          name,
          `it would be taken, and did not begin in ${seconds} s: the queue is long; nothing is known of the nodes`,
        ),
      ];
    }
    if (missing.length === 0) return [ok(name, `ran on ${node}, which has all it needs`)];
    const remedy =
      "put it where compute nodes see it under the same path, load its module in slurm.setup, or set slurm.node";
    return [failed(name, `${node} does not have ${missing.join(", ")}`, remedy)];
  } catch (error) {
    if (!(error instanceof KittyError)) throw error;
    return [failed(name, error.message, "correct the sections slurm and apptainer of the configuration")];
  }
}
