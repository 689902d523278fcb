import type { EventLog } from "../job/event-log.js";
import type { JobService } from "../job/job-service.js";
import type { ClusterView } from "../orchestrator/cluster-view.js";
import type { Containers } from "../orchestrator/containers.js";
import type { Kitty } from "../orchestrator/kitty.js";
import type { UsageHistory } from "../orchestrator/usage/usage-history.js";
import type { Endpoint } from "./endpoint.js";
import type { InstanceWatch } from "./instance-watch.js";
import type { Generations } from "./generations.js";
import type { ServedModel } from "./served-model.js";
import type { ServedSessions } from "./served-sessions.js";
import type { ServerMetrics } from "./metrics/server-metrics.js";
import type { Doctor } from "./wire/system.js";

export type CheckMachine = () => Promise<Doctor["checks"]>;

/** What endpoints work with. */
export interface Services {
  kitty: Kitty;
  version: string;
  /** All that the API has. */
  endpoints: readonly Endpoint[];
  startedAt: Date;
  model: ServedModel;
  readonly jobs: JobService;
  /** What happens here, in its order. */
  readonly events: EventLog;
  containers: Containers;
  instances: InstanceWatch;
  cluster: ClusterView;
  sessions: ServedSessions;
  generations: Generations;
  metrics: ServerMetrics;
  /** Of sessions in this process; there are none to look at when the Kitty is elsewhere. */
  usage: UsageHistory | undefined;
  /** What `kitty-kv doctor` does, where whoever serves has brought it. */
  checkMachine: CheckMachine | undefined;
}
