import { z } from "zod";
import type { Answer, Endpoint } from "./endpoint.js";

const errorSchema = z.object({
  error: z.object({ code: z.string(), message: z.string(), details: z.record(z.string(), z.unknown()) }),
});

const REFUSALS: Readonly<Record<string, string>> = {
  "400": "The input is wrong; the message says where and what is wanted",
  "401": "There is no token, or a wrong one",
  "403": "The Host or Origin is not this server's",
  "404": "There is no such thing",
  "409": "It conflicts with what is there",
  "413": "The body is too large",
  "429": "Too much at once; try again after Retry-After seconds",
  "501": "This machine lacks a program that it needs",
  "503": "Not ready yet; try again after Retry-After seconds",
};

/** The OpenAPI 3.1 document of an API, from the schemas that its requests are checked with. */
export function describeApi(endpoints: readonly Endpoint[], version: string) {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const endpoint of endpoints) {
    paths[endpoint.path] = { ...paths[endpoint.path], [endpoint.method]: describeOperation(endpoint) };
  }
  return {
    openapi: "3.1.0",
    info: { title: "Kitty KV", version, description: "Large language models with a 2-bit KV cache." },
    servers: [{ url: "/" }],
    security: [{ token: [] }],
    paths,
    components: {
      securitySchemes: { token: { type: "http", scheme: "bearer", description: "What `kitty-kv up` prints." } },
      schemas: { Error: toJsonSchema(errorSchema, "output") },
    },
  };
}

function describeOperation(endpoint: Endpoint) {
  const { summary, description, tag, isOpen, status = 200, answers } = endpoint;
  const parameters = [...pathParameters(endpoint), ...queryParameters(endpoint)];
  const requestBody = describeBody(endpoint);
  return {
    summary,
    ...(description === undefined ? {} : { description }),
    tags: [tag],
    ...(isOpen === true ? { security: [] } : {}),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(requestBody === undefined ? {} : { requestBody }),
    responses: { [String(status)]: describeAnswers(answers), ...refusals(endpoint) },
  };
}

function describeAnswers(answers: readonly Answer[]) {
  const hasContent = answers.some(({ schema, contentType }) => schema !== undefined || contentType !== undefined);
  const content = answers.map(({ contentType = "application/json", schema }) => [
    contentType,
    { schema: schema === undefined ? { type: "string" } : toJsonSchema(schema, "output") },
  ]);
  const description = answers.map((answer) => answer.description).join(". ");
  return { description, ...(hasContent ? { content: Object.fromEntries(content) as unknown } : {}) };
}

function describeBody({ body, bodyContentType }: Endpoint) {
  if (bodyContentType !== undefined) {
    return { required: true, content: { [bodyContentType]: { schema: { type: "string", format: "binary" } } } };
  }
  return body === undefined
    ? undefined
    : { required: true, content: { "application/json": { schema: toJsonSchema(body, "input") } } };
}

function pathParameters({ path }: Endpoint) {
  return [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    ...{ name, in: "path", required: true, schema: { type: "string" } },
  }));
}

function queryParameters({ query }: Endpoint) {
  if (query === undefined) return [];
  const { properties = {}, required = [] } = toJsonSchema(query, "input") as {
    properties?: Record<string, unknown>;
    required?: string[];
  };
  return Object.entries(properties).map(([name, schema]) => ({
    ...{ name, in: "query", required: required.includes(name), schema },
  }));
}

function refusals({ isOpen, body, path, refuses = [] }: Endpoint) {
  const statuses = Object.keys(REFUSALS).filter((status) => {
    if (refuses.includes(status) || status === "501") return refuses.includes(status);
    if (isOpen === true) return ["403", "429", "503"].includes(status);
    if (status === "413") return body !== undefined;
    return status !== "404" || path.includes("{") || path.startsWith("/v1/");
  });
  const content = { "application/json": { schema: { $ref: "#/components/schemas/Error" } } };
  return Object.fromEntries(statuses.map((status) => [status, { description: REFUSALS[status], content }]));
}

function toJsonSchema(schema: z.ZodType, io: "input" | "output"): Record<string, unknown> {
  const document = { ...z.toJSONSchema(schema, { io, unrepresentable: "any" }) } as Record<string, unknown>;
  // The dialect is OpenAPI 3.1's own everywhere.
  delete document["$schema"];
  return document;
}
