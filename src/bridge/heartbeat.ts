export interface HeartbeatOptions {
  intervalMs: number;
  /** How long an answer to one ping may take. */
  timeoutMs: number;
  /** How long the engine may stay in one step while the worker still answers. */
  stepTimeoutMs: number;
}

/**
 * Pings until stopped, and tells once when the worker does not answer or its engine is stuck.
 * @returns the stop
 */
export function startHeartbeat(
  ping: () => Promise<{ stepAgeMs: number | null }>,
  options: HeartbeatOptions,
  onHung: (reason: string) => void,
): () => void {
  let isStopped = false;
  let timer: NodeJS.Timeout | undefined;
  const stop = (): void => {
    isStopped = true;
    clearTimeout(timer);
  };
  const hang = (reason: string): void => {
    if (isStopped) return;
    stop();
    onHung(reason);
  };
  const refuse = (error: unknown): void => {
    hang(`it did not answer a heartbeat well: ${(error as Error).message}`);
  };
  const beat = async (): Promise<void> => {
    const { stepAgeMs } = await watch(ping(), options.timeoutMs, () => {
      hang(`it did not answer a heartbeat in ${String(options.timeoutMs)} ms`);
    });
    if (stepAgeMs !== null && stepAgeMs > options.stepTimeoutMs) {
      hang(`its engine did not finish a step in ${String(options.stepTimeoutMs)} ms`);
    }
  };
  const schedule = (): void => {
    if (isStopped) return;
    timer = setTimeout(() => void beat().then(schedule, refuse), options.intervalMs);
    timer.unref();
  };
  schedule();
  return stop;
}

async function watch<T>(answer: Promise<T>, timeoutMs: number, onLate: () => void): Promise<T> {
  let isWaiting = true;
  const timer = setTimeout(() => {
    // If it was this process that was busy, the answer lies in the pipe: let it be read before judging.
    setImmediate(() => {
      if (isWaiting) onLate();
    });
  }, timeoutMs);
  try {
    return await answer;
  } finally {
    isWaiting = false;
    clearTimeout(timer);
  }
}
