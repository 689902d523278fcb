import { ConfigError, KittyError, NotFoundError, UnsupportedError } from "../errors.js";

export interface WireError {
  code: string;
  message: string;
  details?: Readonly<Record<string, unknown>> | undefined;
}

const CONFIG_CODES = new Set(["invalid_argument", "unknown_preset", "empty_prompt", "context_exceeded"]);
const NOT_FOUND_CODES = new Set(["model_not_found", "not_a_model", "session_not_found", "not_found"]);

/** The error class a caller can catch for an error that came over the wire. */
export function fromWireError(wire: WireError): KittyError {
  const options = { code: wire.code, details: wire.details ?? {} };
  if (CONFIG_CODES.has(wire.code)) return new ConfigError(wire.message, options);
  if (NOT_FOUND_CODES.has(wire.code)) return new NotFoundError(wire.message, options);
  if (wire.code === "unsupported") return new UnsupportedError(wire.message, options);
  return new KittyError(wire.message, options);
}
