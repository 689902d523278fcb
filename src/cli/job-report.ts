import { setTimeout as sleep } from "node:timers/promises";
import type { JobService, JobSummary } from "../index.js";
import type { CommandContext } from "./create-program.js";
import type { Output } from "./output.js";

const POLL_MS = 300;

/** A job in one line. */
export function toLine({ id, kind, name, state, progress, error, createdAt }: JobSummary): string {
  const label = name === null ? "" : `  ${name}`;
  const share = progress === null ? "" : `  ${String(progress.done)}/${String(progress.total)}`;
  const reason = error === null ? "" : `  ${error.message}`;
  return `${id}  ${state.padEnd(9)}  ${kind.padEnd(8)}  ${createdAt}${label}${share}${reason}`;
}

/** Prints each job when it has ended, and sets the exit code: 0 when all succeeded, 130 when one was cancelled, else 1. */
export async function waitFor(
  ids: readonly string[],
  service: JobService,
  { output, setExitCode }: CommandContext,
  signal: AbortSignal,
): Promise<void> {
  const states = await Promise.all(
    ids.map(async (id) => {
      const job = await service.wait(id, { signal });
      if (output.isJson) await output.json(job);
      else await output.line(toLine(job));
      return job.state;
    }),
  );
  if (states.some((state) => state === "failed" || state === "timed_out")) setExitCode(1);
  else if (states.includes("cancelled")) setExitCode(130);
}

interface FollowOptions {
  output: Output;
  isFollowing: boolean;
  signal: AbortSignal;
}

/** Prints a job's log as it is, and on until the job has ended. */
export async function followLog(
  id: string,
  service: JobService,
  { output, isFollowing, signal }: FollowOptions,
): Promise<void> {
  for (let offset = 0; ;) {
    const { text, nextOffset, isEnd } = await service.logs(id, { offset });
    if (text !== "" && output.isJson) await output.json({ text, offset, nextOffset });
    else await output.text(text);
    const isCaughtUp = nextOffset === offset;
    offset = nextOffset;
    if (signal.aborted || (isCaughtUp && (isEnd || !isFollowing))) return;
    // An interruption ends the wait, and the loop with it.
    if (isCaughtUp) await sleep(POLL_MS, undefined, { signal }).catch(() => undefined);
  }
}
