import { useCallback, useRef } from "preact/hooks";
import type { Usage, UsageSample } from "../../server/wire/system.js";
import { call } from "../api/client.js";
import { usePolled, type Polled } from "./use-polled.js";

const KEPT = 720;

/** The last hour, of which only what is new is asked for. */
export function useUsage(): Polled<readonly UsageSample[]> {
  const known = useRef<readonly UsageSample[]>([]);
  const read = useCallback(async (signal: AbortSignal) => {
    const since = known.current.at(-1)?.time;
    const query = since === undefined ? "" : `?since=${encodeURIComponent(since)}`;
    const { samples } = await call<Usage>(`/api/usage${query}`, { signal });
    if (samples.length > 0) known.current = [...known.current, ...samples].slice(-KEPT);
    return known.current;
  }, []);
  return usePolled(read, 5000);
}
