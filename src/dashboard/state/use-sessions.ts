import { useCallback, useEffect } from "preact/hooks";
import type { KvCacheMemory, ServedSession, SessionList } from "../../server/wire/sessions.js";
import { call } from "../api/client.js";
import { recent } from "./live.js";
import { usePolled, type Polled } from "./use-polled.js";

export type MeasuredSession = ServedSession & { memory: KvCacheMemory | undefined };

const MOST = 50;

/** The sessions that were opened over HTTP, with what their caches hold; asked for anew when something happens to one. */
export function useSessions(): Polled<readonly MeasuredSession[]> {
  const read = useCallback(async (signal: AbortSignal) => {
    const { sessions } = await call<SessionList>("/api/sessions", { signal });
    return await Promise.all(sessions.slice(0, MOST).map((session) => measure(session, signal)));
  }, []);
  const polled = usePolled(read, 10_000);
  const latest = recent.value.find(({ topic }) => topic === "session")?.seq;
  useEffect(() => {
    if (latest === undefined) return undefined;
    const timer = setTimeout(polled.refresh, 200);
    return () => {
      clearTimeout(timer);
    };
  }, [latest, polled.refresh]);
  return polled;
}

/** A session that is closed in between has no memory. */
async function measure(session: ServedSession, signal: AbortSignal): Promise<MeasuredSession> {
  const path = `/api/sessions/${encodeURIComponent(session.id)}/memory`;
  return { ...session, memory: await call<KvCacheMemory>(path, { signal }).catch(() => undefined) };
}
