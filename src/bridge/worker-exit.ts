import { WorkerExitedError } from "../errors.js";
import type { ChildExit } from "../process/child.js";

/** The error for a worker that is gone: how it ended, why as far as we know, and its last words. */
export function describeExit(exit: ChildExit, reason: string | undefined): WorkerExitedError {
  const { exitCode, signal, stderrTail, startError } = exit;
  const why = reason ?? startError?.message;
  const lastWords = stderrTail.findLast((line) => line !== "");
  const message = [
    `Cannot go on with the Python worker: it ${howItEnded(exit)}`,
    why === undefined ? "" : ` because ${why}`,
    lastWords === undefined ? "" : `, its last line on stderr was ${JSON.stringify(lastWords.slice(0, 300))}`,
  ].join("");
  const details = why === undefined ? {} : { reason: why };
  return new WorkerExitedError(message, { exitCode, signal, stderrTail }, { details, cause: startError });
}

function howItEnded({ exitCode, signal, startError }: ChildExit): string {
  if (startError !== undefined) return "did not start";
  return signal === null ? `exited with code ${String(exitCode)}` : `was ended by ${signal}`;
}
