import { z } from "zod";
import { endpoint, type Endpoint } from "./endpoint.js";
import { describeApi } from "./openapi.js";

const systemSchema = z.object({
  version: z.string(),
  startedAt: z.iso.datetime(),
  uptimeSeconds: z.number(),
  ready: z.boolean(),
  node: z.string(),
  pid: z.number().int(),
  memoryBytes: z.number().int(),
  sessions: z.number().int(),
  generations: z.number().int(),
  /** The whole configuration, complete with defaults. */
  config: z.record(z.string(), z.unknown()),
});

const readSystem = endpoint({
  method: "get",
  path: "/api/system",
  tag: "system",
  summary: "Show the orchestrator",
  answers: [{ description: "Its version, configuration and load", schema: systemSchema }],
  handle: ({ services }) => {
    const { version, startedAt, kitty, model, sessions, generations } = services;
    return Promise.resolve({
      version,
      startedAt: startedAt.toISOString(),
      uptimeSeconds: (Date.now() - startedAt.getTime()) / 1000,
      ready: model.isReady,
      node: process.version,
      pid: process.pid,
      memoryBytes: process.memoryUsage().rss,
      sessions: sessions.list().length,
      generations: generations.count,
      config: kitty.config,
    });
  },
});

const readOpenApi = endpoint({
  method: "get",
  path: "/api/openapi.json",
  tag: "system",
  summary: "Show this API's document",
  answers: [{ description: "In OpenAPI 3.1", schema: z.looseObject({ openapi: z.string() }) }],
  handle: ({ services }) => Promise.resolve(describeApi(services.endpoints, services.version)),
});

export const SYSTEM_ENDPOINTS: readonly Endpoint[] = [readSystem, readOpenApi];
