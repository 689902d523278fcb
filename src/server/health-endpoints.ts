import { z } from "zod";
import { endpoint, type Endpoint } from "./endpoint.js";
import { sendError } from "./send-error.js";
import { KittyError } from "../errors.js";
import { Sessions } from "../orchestrator/sessions.js";

const healthz = endpoint({
  method: "get",
  path: "/healthz",
  tag: "health",
  summary: "Say that the server runs",
  isOpen: true,
  answers: [{ description: "It does", schema: z.object({ status: z.literal("ok") }) }],
  handle: () => Promise.resolve({ status: "ok" }),
});

const readyz = endpoint({
  method: "get",
  path: "/readyz",
  tag: "health",
  summary: "Say whether the model is loaded",
  description: "503 until it is.",
  isOpen: true,
  answers: [{ description: "It is", schema: z.object({ status: z.literal("ready") }) }],
  handle: ({ services, response, request }) => {
    if (services.model.isReady) return Promise.resolve({ status: "ready" });
    // Whoever asks has shown no token, so why a load failed is not told here.
    const found = services.model.failure === undefined ? "the model is still loading" : "the model cannot be loaded";
    const error = new KittyError(`Cannot serve yet: ${found}; try again later, or see the server's log`, {
      code: "loading",
    });
    sendError(response, error, request.path);
    return Promise.resolve(undefined);
  },
});

const metrics = endpoint({
  method: "get",
  path: "/metrics",
  tag: "health",
  summary: "Show metrics",
  answers: [{ description: "In Prometheus's text format", contentType: "text/plain; version=0.0.4" }],
  handle: async ({ services, response }) => {
    const { sessions: all } = services.kitty;
    const open = services.sessions.list().map(({ session }) => session);
    const text = await services.metrics.render(open, all instanceof Sessions ? all : undefined);
    response.type("text/plain; version=0.0.4; charset=utf-8").send(text);
    return undefined;
  },
});

export const HEALTH_ENDPOINTS: readonly Endpoint[] = [healthz, readyz, metrics];
