import { endpoint, type Endpoint } from "./endpoint.js";
import { clusterSchema } from "./wire/cluster.js";

const readCluster = endpoint({
  method: "get",
  path: "/api/cluster",
  tag: "cluster",
  summary: "Show the cluster",
  description:
    "Partitions, nodes, and this user's jobs in the queue, as Slurm sees them; not older than three seconds. 404 where the configuration's runner is not slurm, 501 where Slurm's commands are missing, 503 while it does not answer.",
  refuses: ["404", "501"],
  answers: [{ description: "The cluster", schema: clusterSchema }],
  handle: ({ services }) => services.cluster.status(),
});

export const CLUSTER_ENDPOINTS: readonly Endpoint[] = [readCluster];
