import type { EventLog } from "../job/event-log.js";
import type { JobService } from "../job/job-service.js";
import type { Containers } from "../orchestrator/containers.js";
import type { Kitty } from "../orchestrator/kitty.js";
import type { Endpoint } from "./endpoint.js";
import type { InstanceWatch } from "./instance-watch.js";
import type { Generations } from "./generations.js";
import type { ServedModel } from "./served-model.js";
import type { ServedSessions } from "./served-sessions.js";
import type { ServerMetrics } from "./metrics/server-metrics.js";

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
  sessions: ServedSessions;
  generations: Generations;
  metrics: ServerMetrics;
}
