import type { WireError } from "./from-wire-error.js";
import { wireErrorSchema } from "./messages.js";

export type Outcome = { ok: unknown } | { error: WireError };

/** Reads `{"ok": …}` or `{"error": {…}}`; anything else is undefined. */
export function openEnvelope(value: unknown): Outcome | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const hasOk = Object.hasOwn(value, "ok");
  if (hasOk === Object.hasOwn(value, "error")) return undefined;
  if (hasOk) return { ok: (value as { ok: unknown }).ok };
  const { data } = wireErrorSchema.safeParse((value as { error: unknown }).error);
  return data === undefined ? undefined : { error: data };
}

/** The same from the string that a reply carries. */
export function parseEnvelope(text: string): Outcome | undefined {
  try {
    return openEnvelope(JSON.parse(text));
  } catch {
    // Not JSON is not an envelope; the caller treats both alike.
    return undefined;
  }
}
