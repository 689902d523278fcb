import { Ago } from "../parts/ago.js";
import { Nodes } from "../parts/cluster/nodes.js";
import { Partitions } from "../parts/cluster/partitions.js";
import { Submissions } from "../parts/cluster/submissions.js";
import { SweepsInProgress } from "../parts/cluster/sweep-progress.js";
import { ClusterTotals } from "../parts/cluster/totals.js";
import { Empty, Loading, Notice } from "../parts/notice.js";
import { PageHead } from "../parts/page-head.js";
import { runner } from "../state/runner.js";
import { useCluster, type SeenCluster } from "../state/use-cluster.js";

/** The cluster that jobs run on, as Slurm sees it. */
export function ClusterPage() {
  if (runner.value === "slurm") return <Watched />;
  return (
    <>
      <PageHead title="Cluster" />
      {runner.value === undefined ? <Loading what="the cluster" /> : <NoCluster />}
    </>
  );
}

function NoCluster() {
  return (
    <div class="card">
      <Empty title="Jobs here do not run on a cluster.">
        <p>
          The orchestrator's runner is <code>{runner.value}</code>. Start it with <code>runner: slurm</code>, as in{" "}
          <code>configs/slurm.yaml</code>, to see partitions, nodes and your jobs in the queue.
        </p>
      </Empty>
    </div>
  );
}

function Watched() {
  const { data, error } = useCluster();
  return (
    <>
      <PageHead title="Cluster" over={data === undefined ? undefined : <Seen seen={data} />} />
      {error === undefined ? null : (
        <Notice kind={data === undefined ? "error" : "warning"}>
          {error}
          {data === undefined ? "" : " What is below was seen before that."}
        </Notice>
      )}
      {data === undefined && error === undefined ? <Loading what="the cluster" /> : null}
      {data === undefined ? null : (
        <>
          <ClusterTotals cluster={data.cluster} />
          <SweepsInProgress />
          <Submissions submissions={data.cluster.submissions} />
          <Partitions partitions={data.cluster.partitions} />
          <Nodes cluster={data.cluster} />
        </>
      )}
    </>
  );
}

function Seen({ seen: { cluster, seenAt } }: { seen: SeenCluster }) {
  return (
    <>
      {cluster.cluster} · Slurm {cluster.version} · seen <Ago time={seenAt} />
      {cluster.hasAccounting ? "" : " · without accounting"}
    </>
  );
}
