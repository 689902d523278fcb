import { ConfigError } from "../../errors.js";

// What an HTTP header carries unchanged.
const KEY = /^[\x21-\x7e](?:[\x20-\x7e]{0,198}[\x21-\x7e])?$/;

/** @throws ConfigError for a key that is empty, too long to be kept, or that no header can carry */
export function checkIdempotencyKey(key: string | undefined): void {
  if (key === undefined || KEY.test(key)) return;
  throw new ConfigError(
    `Cannot submit this job: the idempotency key must be 1 to 200 printable ASCII characters without spaces around them, got ${JSON.stringify(key.slice(0, 50))} of ${String(key.length)} characters`,
    { details: { path: "idempotencyKey" } },
  );
}
