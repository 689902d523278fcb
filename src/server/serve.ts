import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import express from "express";
import { ConfigError, KittyError } from "../errors.js";
import { ClusterView } from "../orchestrator/cluster-view.js";
import { Containers } from "../orchestrator/containers.js";
import type { Kitty } from "../orchestrator/kitty.js";
import { Sessions } from "../orchestrator/sessions.js";
import { UsageHistory } from "../orchestrator/usage/usage-history.js";
import { Access, isLoopback } from "./access.js";
import { dashboardFiles } from "./dashboard-files.js";
import { ENDPOINTS } from "./endpoints.js";
import { EventHub } from "./event-hub.js";
import { Generations } from "./generations.js";
import { ServerMetrics } from "./metrics/server-metrics.js";
import { InstanceWatch } from "./instance-watch.js";
import { mountEndpoints } from "./mount-endpoints.js";
import { RateLimit } from "./rate-limit.js";
import { ServedModel } from "./served-model.js";
import { ServedSessions } from "./served-sessions.js";
import type { CheckMachine, Services } from "./services.js";
import { readToken, TOKEN_VARIABLE, type Token } from "./token.js";

export interface ServeOptions {
  /** This package's version, which answers carry. */
  version: string;
  /** Hears of what goes wrong inside the server. */
  onDefect?: ((error: unknown) => void) | undefined;
  /** What `GET /api/doctor` answers with. */
  checkMachine?: CheckMachine | undefined;
  /** The folder of the built dashboard; there are no pages without it. */
  dashboard?: string | undefined;
}

/** The HTTP server of a Kitty. */
export interface KittyServer extends AsyncDisposable {
  /** Such as http://127.0.0.1:7717, without a slash at the end. */
  readonly url: string;
  readonly token: string;
  /** Whether the model is loaded. */
  readonly model: ServedModel;
  /** Ends every connection and session; the Kitty goes on. */
  close(): Promise<void>;
}

/**
 * Serves a Kitty over HTTP where its configuration says, and resolves when it listens; the model need not be loaded.
 * @throws ConfigError for an address that others reach and no token of your own, KittyError `address_in_use`
 */
export async function serve(kitty: Kitty, options: ServeOptions): Promise<KittyServer> {
  const { onDefect = () => undefined, dashboard } = options;
  const { host, port, allowedHosts, maxBodyMiB, requestsPerSecond, eventStallTimeoutMs } = kitty.config.server;
  const token = await readToken();
  checkExposure(host, token);
  const services = createServices(kitty, { ...options, onDefect });
  const app = express().disable("x-powered-by").set("trust proxy", false).set("query parser", "simple");
  const access = new Access({ token: token.value, host, allowedHosts });
  const rateLimit = new RateLimit(requestsPerSecond);
  mountEndpoints(app, [...ENDPOINTS, ...dashboardFiles(dashboard)], {
    services,
    access,
    rateLimit,
    maxBodyBytes: maxBodyMiB * 2 ** 20,
    onDefect,
  });
  const server = createServer(app);
  const events = new EventHub(server, {
    ...{ events: () => services.events, stallTimeoutMs: eventStallTimeoutMs, access, rateLimit, onDefect },
  });
  const bound = await listen(server, host, port);
  const close = async (): Promise<void> => {
    services.usage?.close();
    events.close();
    services.instances.close();
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
    await services.sessions.closeAll();
  };
  const url = `http://${host.includes(":") ? `[${host}]` : host}:${String(bound)}`;
  return { url, token: token.value, model: services.model, close, [Symbol.asyncDispose]: close };
}

function createServices(
  kitty: Kitty,
  { version, checkMachine, onDefect }: ServeOptions & { onDefect: (error: unknown) => void },
): Services {
  const startedAt = new Date();
  const model = new ServedModel(kitty);
  const metrics = new ServerMetrics(() => (model.isReady ? model.description.name : ""), startedAt);
  const { maxGenerations, sessionIdleTimeoutMs } = kitty.config.server;
  return {
    ...{ kitty, version, startedAt, model, metrics, checkMachine, endpoints: ENDPOINTS },
    usage: kitty.sessions instanceof Sessions ? new UsageHistory(kitty.sessions) : undefined,
    // Opened on first use, as not every folder may hold a job store.
    get jobs() {
      return kitty.jobs.service;
    },
    get events() {
      return kitty.jobs.log;
    },
    containers: new Containers(kitty.config),
    cluster: new ClusterView(kitty.config),
    instances: new InstanceWatch({ log: () => kitty.jobs.openLog, onDefect }),
    sessions: new ServedSessions(kitty, sessionIdleTimeoutMs),
    generations: new Generations(maxGenerations, metrics),
  };
}

function checkExposure(host: string, token: Token): void {
  if (isLoopback(host) || token.isExplicit) return;
  throw new ConfigError(
    `Cannot listen on ${JSON.stringify(host)}: others can reach it, so set ${TOKEN_VARIABLE} to a token of at least 16 characters that you chose; what is sent is not encrypted, so let a proxy such as Caddy or nginx add TLS in front of 127.0.0.1 instead where you can`,
    { code: "token_needed", details: { host, variable: TOKEN_VARIABLE } },
  );
}

/** @returns the port, which the system chose if it was 0 */
function listen(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) => {
      reject(listenError(cause, host, port));
    });
    server.listen(port, host, () => {
      resolve((server.address() as AddressInfo).port);
    });
  });
}

function listenError(cause: NodeJS.ErrnoException, host: string, port: number): KittyError {
  const place = `${host}:${String(port)}`;
  const details = { host, port };
  if (cause.code === "EADDRINUSE") {
    const message = `Cannot listen on ${place}: another program does already; stop it, or choose another port with --port`;
    return new KittyError(message, { code: "address_in_use", details, cause });
  }
  return new KittyError(`Cannot listen on ${place}: ${cause.message}; choose another --host or --port`, {
    code: "cannot_listen",
    details,
    cause,
  });
}
