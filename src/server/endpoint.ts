import type { Request, Response } from "express";
import type { z } from "zod";
import type { Services } from "./services.js";

/** What a handler gets: checked input, and whether anybody still waits for the answer. */
export interface Context<Body = unknown, Query = unknown> {
  services: Services;
  body: Body;
  query: Query;
  /** The variable parts of the path. */
  params: Readonly<Record<string, string>>;
  /** Fires when the client is gone. */
  signal: AbortSignal;
  request: Request;
  response: Response;
}

export interface Answer {
  description: string;
  /** @default "application/json" */
  contentType?: string;
  /** Left out for text. */
  schema?: z.ZodType;
}

interface EndpointSpec<Body extends z.ZodType, Query extends z.ZodType> {
  method: "get" | "post" | "delete";
  /** As OpenAPI writes it: `/api/sessions/{id}`. */
  path: string;
  tag:
    "health" | "system" | "events" | "sessions" | "jobs" | "reports" | "instances" | "overlays" | "cluster" | "openai";
  summary: string;
  description?: string;
  /** Whether it answers without a token. @default false */
  isOpen?: boolean;
  body?: Body;
  /** Whether the handler checks the body, and the schema only describes it. @default false */
  checksItself?: boolean;
  query?: Query;
  /** The content type of a body that is not JSON. */
  bodyContentType?: string;
  /** @default 200 */
  status?: number;
  answers: readonly Answer[];
  /** Statuses of refusals that not every operation has. */
  refuses?: readonly string[];
  /** Resolves with what is sent as JSON, or with undefined when it has answered itself. */
  handle: (context: Context<z.output<Body>, z.output<Query>>) => Promise<unknown>;
}

/** One operation of the HTTP API: what OpenAPI says of it, the schemas that check it, and what it does. */
export type Endpoint = Omit<EndpointSpec<z.ZodType, z.ZodType>, "handle"> & {
  handle: (context: Context) => Promise<unknown>;
};

/** Gives a handler the types of its schemas. */
export function endpoint<Body extends z.ZodType, Query extends z.ZodType>(spec: EndpointSpec<Body, Query>): Endpoint {
  return spec as unknown as Endpoint;
}
