import { useCallback } from "preact/hooks";
import type { System } from "../../server/wire/system.js";
import { call } from "../api/client.js";
import { usePolled, type Polled } from "./use-polled.js";

/** What the orchestrator says of itself. */
export function useSystem(everyMs: number): Polled<System> {
  return usePolled(
    useCallback((signal: AbortSignal) => call<System>("/api/system", { signal }), []),
    everyMs,
  );
}
