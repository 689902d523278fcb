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
  const beat = async (): Promise<void> => {
    const late = setTimeout(() => {
      // If it was this process that was busy, the answer lies in the pipe: let it be read before judging.
      setImmediate(() => {
        if (isWaiting) hang(`it did not answer a heartbeat in ${String(options.timeoutMs)} ms`);
      });
    }, options.timeoutMs);
    let isWaiting = true;
    const { stepAgeMs } = await ping().finally(() => {
      isWaiting = false;
      clearTimeout(late);
    });
    if (stepAgeMs !== null && stepAgeMs > options.stepTimeoutMs) {
      hang(`its engine did not finish a step in ${String(options.stepTimeoutMs)} ms`);
    }
  };
  const schedule = (): void => {
    if (isStopped) return;
    // A ping fails only with the worker, and its owner hears of that by itself.
    timer = setTimeout(() => void beat().then(schedule, stop), options.intervalMs);
    timer.unref();
  };
  schedule();
  return stop;
}
