import { CancelledError } from "../errors.js";

/**
 * Waits for `promise` until `signal` fires; the work behind the promise goes on, its owner must undo it.
 * @param what names the work in the error: "open a session"
 * @throws CancelledError when the signal fires first
 */
export async function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined, what: string): Promise<T> {
  if (signal === undefined) return promise;
  let onAbort!: () => void;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => {
      reject(cancelled(signal, what));
    };
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await Promise.race([aborted, promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** The same check before work that is not begun yet. */
export function throwIfAborted(signal: AbortSignal | undefined, what: string): void {
  if (signal?.aborted === true) throw cancelled(signal, what);
}

function cancelled(signal: AbortSignal, what: string): CancelledError {
  return new CancelledError(`Cannot ${what}: the signal was aborted`, { cause: signal.reason });
}
