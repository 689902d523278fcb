import { randomUUID } from "node:crypto";
import express, { type Express, type NextFunction, type Request, type Response } from "express";
import { z } from "zod";
import { validate } from "../config/validate.js";
import { KittyError, NotFoundError } from "../errors.js";
import type { Access } from "./access.js";
import { checkDepth } from "./check-depth.js";
import type { Endpoint } from "./endpoint.js";
import { toKittyError } from "./error-status.js";
import type { RateLimit } from "./rate-limit.js";
import { setSecurityHeaders } from "./security-headers.js";
import { sendError } from "./send-error.js";
import type { Services } from "./services.js";

export interface MountOptions {
  services: Services;
  access: Access;
  rateLimit: RateLimit;
  maxBodyBytes: number;
  /** Hears of errors that are defects. */
  onDefect: (error: unknown) => void;
}

const NO_QUERY = z.strictObject({});

/** Puts the checks that all requests go through, then the endpoints, then the refusals, in that order. */
export function mountEndpoints(app: Express, endpoints: readonly Endpoint[], options: MountOptions): void {
  const { services, access, rateLimit } = options;
  app.use((request: Request, response: Response, next: NextFunction) => {
    response.setHeader("x-request-id", randomUUID());
    setSecurityHeaders(response);
    // The path that Express matched; unmatched ones are one label, or anybody could make labels without end.
    response.once("finish", () => {
      const { route } = request as { route?: { path: string } };
      services.metrics.countRequest(request.method, route?.path ?? "unmatched", response.statusCode);
    });
    rateLimit.check(request.socket.remoteAddress ?? "");
    access.checkOrigin(request);
    next();
  });
  for (const endpoint of endpoints) mountEndpoint(app, endpoint, options);
  app.use((request: Request) => {
    access.checkToken(request);
    throw unknownRoute(request, endpoints);
  });
  // Express tells error handlers from others by their four parameters.
  app.use((error: unknown, request: Request, response: Response, next: NextFunction) => {
    const known = toKittyError(error);
    if (known.code === "internal") options.onDefect(error);
    if (response.headersSent) next(error);
    else sendError(response, known, request.path);
  });
}

function mountEndpoint(app: Express, endpoint: Endpoint, { services, access, maxBodyBytes }: MountOptions): void {
  const path = endpoint.path.replace(/\{(\w+)\}/g, ":$1");
  const guard = (request: Request, _: Response, next: NextFunction): void => {
    if (endpoint.isOpen !== true) access.checkToken(request);
    next();
  };
  const isJson = endpoint.body !== undefined && endpoint.bodyContentType === undefined;
  // Whatever its Content-Type claims, since curl -d says it is a form; browsers' forms are refused by their Origin.
  const parse = express.json({ limit: maxBodyBytes, strict: false, type: () => isJson });
  app[endpoint.method](path, guard, parse, async (request: Request, response: Response) => {
    const attempt = endpoint.summary.charAt(0).toLowerCase() + endpoint.summary.slice(1);
    const query = validate(endpoint.query ?? NO_QUERY, { ...request.query }, { attempt });
    if (isJson) checkDepth(request.body, attempt);
    const body =
      endpoint.checksItself === true
        ? (request.body as unknown)
        : isJson
          ? validate(endpoint.body ?? z.undefined(), request.body ?? {}, { attempt })
          : undefined;
    const params = request.params as Record<string, string>;
    const result = await endpoint.handle({
      services,
      body,
      query,
      params,
      signal: goneSignal(response),
      request,
      response,
    });
    if (result !== undefined) response.status(endpoint.status ?? 200).json(result);
    else if (!response.writableEnded && !response.headersSent) response.status(endpoint.status ?? 204).end();
  });
}

/** Fires when the connection closed before the answer was complete. */
function goneSignal(response: Response): AbortSignal {
  const controller = new AbortController();
  response.once("close", () => {
    if (!response.writableFinished) controller.abort();
  });
  return controller.signal;
}

function unknownRoute({ method, path }: Request, endpoints: readonly Endpoint[]): KittyError {
  const known = endpoints
    .filter((endpoint) => matches(endpoint.path, path))
    .map((endpoint) => endpoint.method.toUpperCase());
  const details = { method, path: path.slice(0, 200) };
  if (known.length > 0) {
    return new KittyError(`Cannot ${method} ${details.path}: it takes ${known.join(" and ")}`, {
      code: "method_not_allowed",
      details: { ...details, known },
    });
  }
  return new NotFoundError(
    `Cannot ${method} ${details.path}: there is no such route, GET /api/openapi.json lists all`,
    {
      code: "route_not_found",
      details,
    },
  );
}

function matches(template: string, path: string): boolean {
  const [wanted, found] = [template.split("/"), path.split("/")];
  return wanted.length === found.length && wanted.every((part, index) => part.startsWith("{") || part === found[index]);
}
