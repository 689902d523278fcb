import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { z } from "zod";
import { ConfigError } from "../errors.js";
import { stateFolder } from "../util/state-folder.js";
import { endpoint, type Endpoint } from "./endpoint.js";
import { describe, idOf } from "./session-endpoints.js";
import { sessionInfoSchema } from "../orchestrator/session-schemas.js";

const saveSession = endpoint({
  method: "get",
  path: "/api/sessions/{id}/saved",
  tag: "sessions",
  summary: "Save a session",
  description: "The file goes to the client, so that no path of the server is named by anybody.",
  answers: [{ description: "A file to restore it from", contentType: "application/octet-stream" }],
  handle: async (context) => {
    const { services, response, signal } = context;
    await services.sessions.use(idOf(context), ({ session }) =>
      withScratchFile(async (path) => {
        await session.save(path, { signal });
        response.type("application/octet-stream");
        await pipeline(createReadStream(path), response, { signal });
      }),
    );
    return undefined;
  },
});

const restoreSession = endpoint({
  method: "post",
  path: "/api/sessions/restore",
  tag: "sessions",
  summary: "Restore a session",
  description: "The body is a file that was saved; its cache keeps its own configuration.",
  query: z.strictObject({ model: z.string().min(1).optional() }),
  bodyContentType: "application/octet-stream",
  status: 201,
  answers: [{ description: "The session", schema: sessionInfoSchema }],
  handle: ({ services, request, query, signal }) =>
    withScratchFile(async (path) => {
      const limit = services.kitty.config.server.maxUploadMiB * 2 ** 20;
      await pipeline(request, limitBytes(limit), createWriteStream(path, { mode: 0o600 }), { signal });
      return describe(await services.sessions.open({ ...query, saved: path, signal }));
    }),
});

export const SAVED_SESSION_ENDPOINTS: readonly Endpoint[] = [saveSession, restoreSession];

/** Runs work with the path of a file that does not exist yet, in a folder that only we may read. */
async function withScratchFile<T>(work: (path: string) => Promise<T>): Promise<T> {
  const parent = join(stateFolder(), "scratch");
  await mkdir(parent, { recursive: true, mode: 0o700 });
  const folder = await mkdtemp(join(parent, "session-"));
  try {
    return await work(join(folder, "session"));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function limitBytes(limit: number): Transform {
  let seen = 0;
  return new Transform({
    transform(chunk: Buffer, _, callback) {
      seen += chunk.length;
      if (seen <= limit) callback(null, chunk);
      else {
        const message = `Cannot restore a session: the file is larger than server.maxUploadMiB, ${String(limit / 2 ** 20)}`;
        callback(new ConfigError(message, { code: "payload_too_large" }));
      }
    },
  });
}
