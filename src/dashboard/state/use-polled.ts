import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { messageOf } from "../api/client.js";

export interface Polled<T> {
  data: T | undefined;
  /** Of the latest try; data may still be there from an earlier one. */
  error: string | undefined;
  refresh: () => void;
}

/**
 * Asks again and again while the page is seen, one question at a time.
 * @param read what asks; a new one asks at once, so wrap it in useCallback; what is known stays until it answers
 * @param everyMs undefined asks once
 */
export function usePolled<T>(read: (signal: AbortSignal) => Promise<T>, everyMs?: number): Polled<T> {
  const [state, setState] = useState<{ data: T | undefined; error: string | undefined }>(NOTHING);
  const again = useRef<() => void>(() => undefined);
  useEffect(() => {
    const controller = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const look = async (): Promise<void> => {
      clearTimeout(timer);
      try {
        if (document.visibilityState === "visible") {
          const data = await read(controller.signal);
          if (!controller.signal.aborted) setState({ data, error: undefined });
        }
      } catch (error) {
        if (controller.signal.aborted) return;
        setState((before) => ({ data: before.data, error: messageOf(error) }));
      }
      if (!controller.signal.aborted && everyMs !== undefined) timer = setTimeout(() => void look(), everyMs);
    };
    again.current = () => void look();
    void look();
    const onShow = (): void => {
      if (document.visibilityState === "visible") void look();
    };
    document.addEventListener("visibilitychange", onShow);
    return () => {
      controller.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", onShow);
    };
  }, [read, everyMs]);
  const refresh = useCallback(() => {
    again.current();
  }, []);
  return { ...state, refresh };
}

const NOTHING = { data: undefined, error: undefined };
