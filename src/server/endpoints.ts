import type { Endpoint } from "./endpoint.js";
import { HEALTH_ENDPOINTS } from "./health-endpoints.js";
import { createChatCompletion } from "./openai/chat-completions.js";
import { createCompletion } from "./openai/completions.js";
import { getModel, listModels } from "./openai/models.js";

/** The whole HTTP API, in the order of its document. */
export const ENDPOINTS: readonly Endpoint[] = [
  ...HEALTH_ENDPOINTS,
  listModels,
  getModel,
  createCompletion,
  createChatCompletion,
];
