import type { WirePartition } from "../../../server/wire/cluster.js";
import { formatDuration, formatNumber } from "../../model/format.js";
import { Card } from "../card.js";

/** The cluster's queues, and what is free in each. */
export function Partitions({ partitions }: { partitions: readonly WirePartition[] }) {
  return (
    <Card title="Partitions" isFlush>
      <div class="scroll" tabIndex={0} role="region" aria-label="Partitions, as a table">
        <table class="partitions">
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">Free GPUs</th>
              <th scope="col">Free nodes</th>
              <th scope="col">Free CPUs</th>
              <th scope="col" class="number">
                Time limit
              </th>
            </tr>
          </thead>
          <tbody>
            {partitions.map((partition) => (
              <Partition key={partition.name} partition={partition} />
            ))}
          </tbody>
        </table>
      </div>
    </Card>
  );
}

function Partition({ partition }: { partition: WirePartition }) {
  const { name, isDefault, isUp, timeLimitMinutes, nodes, cpus, gpus, gpuTypes } = partition;
  return (
    <tr>
      <th scope="row">
        <span class="partition-name">{name}</span> {isDefault ? <span class="tag">default</span> : null}{" "}
        {isUp ? null : <span class="tag tag-bad">starts no jobs</span>}
      </th>
      <td>{gpus.total === 0 ? "none" : <FreeShare share={gpus} more={gpuTypes.join(", ")} />}</td>
      <td>
        <FreeShare share={nodes} more={nodes.down === 0 ? "" : `${formatNumber(nodes.down)} down`} />
      </td>
      <td>
        <FreeShare share={cpus} />
      </td>
      <td class="number">{timeLimitMinutes === null ? "none" : formatDuration(60 * timeLimitMinutes)}</td>
    </tr>
  );
}

function FreeShare({ share: { free, total }, more = "" }: { share: { free: number; total: number }; more?: string }) {
  return (
    <span class="free-share">
      <span class="free-track" aria-hidden="true">
        <span class="free-bar" style={{ width: `${String(total === 0 ? 0 : (100 * free) / total)}%` }} />
      </span>
      <span>
        {formatNumber(free)} of {formatNumber(total)}
        {more === "" ? null : <span class="muted"> · {more}</span>}
      </span>
    </span>
  );
}
