import type { Endpoint } from "./endpoint.js";
import { CLUSTER_ENDPOINTS } from "./cluster-endpoints.js";
import { generateInSession } from "./generate-endpoint.js";
import { HEALTH_ENDPOINTS } from "./health-endpoints.js";
import { EVENT_ENDPOINTS } from "./event-endpoints.js";
import { INSTANCE_ENDPOINTS } from "./instance-endpoints.js";
import { JOB_ENDPOINTS } from "./job-endpoints.js";
import { createChatCompletion } from "./openai/chat-completions.js";
import { createCompletion } from "./openai/completions.js";
import { getModel, listModels } from "./openai/models.js";
import { OVERLAY_ENDPOINTS } from "./overlay-endpoints.js";
import { REPORT_ENDPOINTS } from "./report-endpoints.js";
import { SAVED_SESSION_ENDPOINTS } from "./saved-session-endpoints.js";
import { SESSION_ENDPOINTS } from "./session-endpoints.js";
import { SYSTEM_ENDPOINTS } from "./system-endpoints.js";

/** The whole HTTP API, in the order of its document. */
export const ENDPOINTS: readonly Endpoint[] = [
  ...HEALTH_ENDPOINTS,
  ...SYSTEM_ENDPOINTS,
  ...SESSION_ENDPOINTS,
  generateInSession,
  ...SAVED_SESSION_ENDPOINTS,
  ...JOB_ENDPOINTS,
  ...REPORT_ENDPOINTS,
  ...EVENT_ENDPOINTS,
  ...INSTANCE_ENDPOINTS,
  ...OVERLAY_ENDPOINTS,
  ...CLUSTER_ENDPOINTS,
  listModels,
  getModel,
  createCompletion,
  createChatCompletion,
];
