import { z } from "zod";
import { UnsupportedError } from "../errors.js";
import { endpoint, type Endpoint } from "./endpoint.js";
import { describeApi } from "./openapi.js";
import { doctorSchema, systemSchema, usageSchema } from "./wire/system.js";

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

const readUsage = endpoint({
  method: "get",
  path: "/api/usage",
  tag: "system",
  summary: "Show what is used, over time",
  description: "The KV caches of all open sessions, what is written, and the GPUs: the last hour, the oldest first.",
  query: z.strictObject({ since: z.iso.datetime().optional() }),
  answers: [{ description: "One look every few seconds", schema: usageSchema }],
  handle: ({ services: { usage }, query: { since = "" } }) => {
    const samples = usage?.samples.filter(({ time }) => time > since) ?? [];
    return Promise.resolve({ intervalSeconds: usage?.intervalSeconds ?? 0, samples });
  },
});

const readDoctor = endpoint({
  method: "get",
  path: "/api/doctor",
  tag: "system",
  summary: "Check this machine",
  description: "What `kitty-kv doctor` finds; it takes some seconds.",
  answers: [{ description: "What works, and what to do about what does not", schema: doctorSchema }],
  handle: async ({ services: { checkMachine } }) => {
    if (checkMachine !== undefined) return { checks: await checkMachine() };
    throw new UnsupportedError(
      'Cannot check this machine: the program that serves here brings no checks, run "kitty-kv doctor"',
    );
  },
});

export const SYSTEM_ENDPOINTS: readonly Endpoint[] = [readSystem, readUsage, readDoctor, readOpenApi];
