import type { Response } from "express";
import type { KittyError } from "../errors.js";
import { retryAfterSeconds, statusOf } from "./error-status.js";

/** The body of every refusal: ours, and below /v1 with what OpenAI's clients look for as well. */
export function errorBody(error: KittyError, path: string) {
  const body = error.toJSON();
  if (!path.startsWith("/v1/")) return { error: body };
  const { path: param } = error.details;
  return { error: { ...body, type: openAIType(statusOf(error)), param: typeof param === "string" ? param : null } };
}

export function sendError(response: Response, error: KittyError, path: string): void {
  const seconds = retryAfterSeconds(error);
  if (seconds !== undefined) response.setHeader("retry-after", String(seconds));
  if (statusOf(error) === 401) response.setHeader("www-authenticate", 'Bearer realm="kitty-kv"');
  response.status(statusOf(error)).json(errorBody(error, path));
}

function openAIType(status: number): string {
  if (status === 401) return "authentication_error";
  if (status === 403) return "permission_error";
  if (status === 429) return "rate_limit_error";
  if (status === 503) return "unavailable_error";
  return status >= 500 ? "server_error" : "invalid_request_error";
}
