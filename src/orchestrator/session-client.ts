import type { WorkerClient } from "../bridge/worker-client.js";

/** What sessions and generations ask of whoever runs them: a worker of this process, or a server. */
export type SessionClient = Pick<
  WorkerClient,
  "generate" | "credit" | "cancel" | "memory" | "tokenTexts" | "saveSession" | "closeSession"
>;
