import {
  cancelBodySchema,
  cancelledSchema,
  kvCacheMemorySchema,
  openSessionBodySchema,
  tokenTextsBodySchema,
  tokenTextsSchema,
} from "../orchestrator/session-schemas.js";
import { endpoint, type Context, type Endpoint } from "./endpoint.js";
import type { ServedSession } from "./served-sessions.js";
import { servedSessionSchema, sessionListSchema } from "./wire/sessions.js";

const listSessions = endpoint({
  method: "get",
  path: "/api/sessions",
  tag: "sessions",
  summary: "List sessions",
  description: "Those that were opened over HTTP.",
  answers: [{ description: "All that are open", schema: sessionListSchema }],
  handle: ({ services }) => Promise.resolve({ sessions: services.sessions.list().map(describe) }),
});

const openSession = endpoint({
  method: "post",
  path: "/api/sessions",
  tag: "sessions",
  summary: "Open a session",
  description: "One that is not used for long, as `server.sessionIdleTimeoutMs` says, is closed.",
  body: openSessionBodySchema,
  status: 201,
  answers: [{ description: "The session", schema: servedSessionSchema }],
  handle: async (context) => {
    const { services, body, signal } = context;
    return await keptUnlessGone(context, await services.sessions.open({ ...body, signal }));
  },
});

const getSession = endpoint({
  method: "get",
  path: "/api/sessions/{id}",
  tag: "sessions",
  summary: "Show a session",
  answers: [{ description: "The session", schema: servedSessionSchema }],
  handle: (context) => Promise.resolve(describe(context.services.sessions.get(idOf(context)))),
});

const closeSession = endpoint({
  method: "delete",
  path: "/api/sessions/{id}",
  tag: "sessions",
  summary: "Close a session",
  status: 204,
  answers: [{ description: "It is closed, and what it generated is cancelled" }],
  handle: async (context) => {
    await context.services.sessions.close(idOf(context));
    return undefined;
  },
});

const forkSession = endpoint({
  method: "post",
  path: "/api/sessions/{id}/fork",
  tag: "sessions",
  summary: "Fork a session",
  description:
    "Another session with the same history, which goes on on its own; the caches share their memory until they part. A session that generates cannot be forked.",
  status: 201,
  answers: [{ description: "The new session", schema: servedSessionSchema }],
  handle: async (context) => {
    const { services, signal } = context;
    return await keptUnlessGone(context, await services.sessions.fork(idOf(context), signal));
  },
});

const readMemory = endpoint({
  method: "get",
  path: "/api/sessions/{id}/memory",
  tag: "sessions",
  summary: "Measure a session's KV cache",
  answers: [{ description: "What it holds", schema: kvCacheMemorySchema }],
  handle: (context) => {
    const { services, signal } = context;
    return services.sessions.use(idOf(context), ({ session }) => session.memory({ signal }));
  },
});

const nameTokens = endpoint({
  method: "post",
  path: "/api/sessions/{id}/token-texts",
  tag: "sessions",
  summary: "Name tokens",
  body: tokenTextsBodySchema,
  answers: [{ description: "Each token's text by itself", schema: tokenTextsSchema }],
  handle: (context) => {
    const { services, body } = context;
    return services.sessions.use(idOf(context), async ({ session }) => ({
      texts: await session.tokenTexts(body.tokens),
    }));
  },
});

const cancelGeneration = endpoint({
  method: "post",
  path: "/api/sessions/{id}/cancel",
  tag: "sessions",
  summary: "Cancel a generation",
  description: "Its own answer then ends with the text so far. One that has not begun yet is cancelled when it does.",
  body: cancelBodySchema,
  answers: [{ description: "Whether it was running", schema: cancelledSchema }],
  handle: async (context) => {
    const { services, body } = context;
    const { streams, cancelledEarly } = services.sessions.get(idOf(context));
    const stream = streams.get(body.generation);
    if (stream === undefined) cancelledEarly.add(body.generation);
    await stream?.cancel();
    return { cancelled: stream !== undefined };
  },
});

export const SESSION_ENDPOINTS: readonly Endpoint[] = [
  ...[listSessions, openSession, getSession, closeSession, forkSession, readMemory, nameTokens, cancelGeneration],
];

/** A client that is gone knows no id, and nobody would ever close the session. */
async function keptUnlessGone({ services, signal }: Context, served: ServedSession) {
  if (!signal.aborted) return describe(served);
  await services.sessions.close(served.session.id);
  return undefined;
}

export function describe({ session, openedAt, streams }: ServedSession) {
  const { id, model, cache } = session;
  return { id, model, cache, openedAt: openedAt.toISOString(), generating: streams.size > 0 };
}

export function idOf({ params }: Pick<Context, "params">): string {
  return params["id"] ?? "";
}
