import type { WireCluster } from "../../../server/wire/cluster.js";
import { totalsOf } from "../../model/cluster.js";
import { formatNumber } from "../../model/format.js";
import { Figure } from "../card.js";

/** What is free on the cluster, and what of one's own runs and waits. */
export function ClusterTotals({ cluster }: { cluster: WireCluster }) {
  const { nodes, cpus, gpus, running, pending } = totalsOf(cluster);
  return (
    <section class="card" aria-label="The whole cluster">
      <div class="figures">
        <Figure label="Free GPUs" value={formatNumber(gpus.free)} hint={`of ${formatNumber(gpus.total)}`} />
        <Figure
          label="Free nodes"
          value={formatNumber(nodes.free)}
          hint={`of ${formatNumber(nodes.total)}${nodes.down === 0 ? "" : `, ${formatNumber(nodes.down)} down`}`}
        />
        <Figure label="Free CPUs" value={formatNumber(cpus.free)} hint={`of ${formatNumber(cpus.total)}`} />
        <Figure label="My tasks that run" value={formatNumber(running)} />
        <Figure label="My tasks that wait" value={formatNumber(pending)} />
      </div>
    </section>
  );
}
