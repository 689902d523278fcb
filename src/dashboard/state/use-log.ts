import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { followLog, PART_BYTES, type ReadLog } from "../api/follow-log.js";
import { LogBuffer } from "../model/log-buffer.js";

export interface Log {
  buffer: LogBuffer;
  /** Grows with every change of the buffer. */
  version: number;
  sizeBytes: number;
  isEnd: boolean;
  isLoaded: boolean;
  error: string | undefined;
  /** Reads what comes before the first line. */
  readEarlier: () => Promise<void>;
}

const NOTHING = { version: 0, sizeBytes: 0, isEnd: false, isLoaded: false };

/**
 * A log from its last part on, followed while it grows: only bytes that are new are asked for.
 * @param key another one reads another log, or the same one anew
 */
export function useLog(read: ReadLog, key: string): Log {
  const buffer = useRef(new LogBuffer());
  const [state, setState] = useState(NOTHING);
  const [error, setError] = useState<string | undefined>();
  useEffect(() => {
    const controller = new AbortController();
    const { signal } = controller;
    const isOver = (): boolean => signal.aborted;
    void followLog(read, {
      signal,
      onStart: (offset) => (buffer.current = new LogBuffer(offset)),
      onPage: ({ sizeBytes, isEnd, ...page }) => {
        if (isOver()) return;
        buffer.current.append(page);
        setState(({ version }) => ({ version: version + 1, sizeBytes, isEnd, isLoaded: true }));
        setError(undefined);
      },
      onError: setError,
    });
    return () => {
      controller.abort();
    };
  }, [read, key]);
  const readEarlier = useCallback(async () => {
    const { start } = buffer.current;
    if (start === 0) return;
    const offset = Math.max(0, start - PART_BYTES);
    buffer.current.prepend(await read(offset, start - offset, new AbortController().signal));
    setState((before) => ({ ...before, version: before.version + 1 }));
  }, [read]);
  return { buffer: buffer.current, ...state, error, readEarlier };
}
