import { useState } from "preact/hooks";
import type { WireCluster, WireNode } from "../../../server/wire/cluster.js";
import { NODE_FILTERS, nodeKind, selectNodes, type NodeFilter } from "../../model/cluster.js";
import { formatBytes, formatNumber } from "../../model/format.js";
import { Card } from "../card.js";

/** More are nothing that anybody looks through; a partition or a filter shows the wanted ones. */
const MOST_SHOWN = 240;
const MOST_BLOCKS = 16;
const FILTER_TEXTS: Readonly<Record<NodeFilter, string>> = {
  all: "all nodes",
  free: "free nodes",
  gpus: "with free GPUs",
  down: "down or drained",
};

/** Every node with its state, and what of it is used. */
export function Nodes({ cluster: { nodes, partitions } }: { cluster: WireCluster }) {
  const [partition, setPartition] = useState("");
  const [filter, setFilter] = useState<NodeFilter>("all");
  const chosen = selectNodes(nodes, partition, filter);
  return (
    <Card
      title="Nodes"
      aside={
        <div class="node-filters">
          <select
            aria-label="Partition"
            class="fit"
            value={partition}
            onChange={({ currentTarget }) => {
              setPartition(currentTarget.value);
            }}
          >
            <option value="">every partition</option>
            {partitions.map(({ name }) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </select>
          <select
            aria-label="Which nodes"
            class="fit"
            value={filter}
            onChange={({ currentTarget }) => {
              setFilter(currentTarget.value as NodeFilter);
            }}
          >
            {NODE_FILTERS.map((name) => (
              <option key={name} value={name}>
                {FILTER_TEXTS[name]}
              </option>
            ))}
          </select>
        </div>
      }
    >
      {chosen.length === 0 ? <p class="muted">No node is so.</p> : null}
      <ul class="nodes">
        {chosen.slice(0, MOST_SHOWN).map((node) => (
          <Node key={node.name} node={node} />
        ))}
      </ul>
      {chosen.length > MOST_SHOWN ? (
        <p class="muted">
          The first {MOST_SHOWN} of {formatNumber(chosen.length)}; choose a partition, or which nodes.
        </p>
      ) : null}
    </Card>
  );
}

const KINDS = { idle: "succeeded", used: "running", down: "failed" } as const;

function Node({ node }: { node: WireNode }) {
  const { name, state, cpus, gpus, gpuTypes, memoryMiB, reason } = node;
  const kind = nodeKind(node);
  return (
    <li class={`node node-${kind}`}>
      <div class="node-head">
        <span class="node-name" title={name}>
          {name}
        </span>
        <span class={`state state-${KINDS[kind]} node-state`}>
          <span class="dot" />
          {state}
        </span>
      </div>
      {gpus.total === 0 ? null : <Blocks free={kind === "down" ? 0 : gpus.free} total={gpus.total} />}
      <div class="muted">
        {gpus.total === 0 ? "" : `${formatNumber(gpus.free)} of ${formatNumber(gpus.total)} GPUs free`}
        {gpuTypes.length === 0 ? "" : ` (${gpuTypes.join(", ")})`}
        {gpus.total === 0 ? "" : " · "}
        {formatNumber(cpus.free)} of {formatNumber(cpus.total)} CPUs free · {formatBytes(memoryMiB * 2 ** 20)}
      </div>
      {reason === null ? null : <div class="node-reason">{reason}</div>}
    </li>
  );
}

/** One block a GPU, filled where it is used; the words beside say the same. */
function Blocks({ free, total }: { free: number; total: number }) {
  if (total > MOST_BLOCKS) return null;
  return (
    <div class="gpu-blocks" aria-hidden="true">
      {Array.from({ length: total }, (_, index) => (
        <span key={index} class={index < total - free ? "gpu-block gpu-used" : "gpu-block"} />
      ))}
    </div>
  );
}
