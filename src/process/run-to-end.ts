import { CancelledError } from "../errors.js";
import { LineSplitter } from "../util/line-splitter.js";
import { spawnChild, type ChildExit, type Command } from "./child.js";
import { stopChild } from "./stop-child.js";

const LINE_LIMIT_BYTES = 64 * 1024;
const STOP_LIMITS = { graceMs: 2000, killAfterMs: 3000 };

export interface RunToEndOptions {
  /** What the run is for, as in "Cannot …: it was interrupted". */
  purpose: string;
  signal?: AbortSignal | undefined;
  onStdoutLine?: ((line: string) => void) | undefined;
  onStderrLine?: ((line: string) => void) | undefined;
  /** Leaves stdin open, so that the program can notice when this process dies. */
  keepsStdinOpen?: boolean;
}

/**
 * Runs a program to its end and keeps what it wrote to stdout.
 * @throws CancelledError when the signal fires; the program and its group are gone by then
 */
export async function runToEnd(command: Command, options: RunToEndOptions): Promise<ChildExit & { stdout: string }> {
  const { purpose, signal, onStdoutLine, onStderrLine = () => undefined } = options;
  throwIfCancelled(purpose, signal);
  const child = spawnChild(command, onStderrLine);
  const chunks: Buffer[] = [];
  const onLine = (line: Buffer): void => onStdoutLine?.(line.toString("utf8"));
  const splitter = new LineSplitter({ limitBytes: LINE_LIMIT_BYTES, onLine, onTooLong: onLine });
  child.stdout.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    splitter.push(chunk);
  });
  if (options.keepsStdinOpen !== true) child.stdin.end();
  const stop = (): void => void stopChild(child, STOP_LIMITS);
  signal?.addEventListener("abort", stop, { once: true });
  const exit = await child.exited;
  signal?.removeEventListener("abort", stop);
  splitter.flush();
  throwIfCancelled(purpose, signal);
  return { ...exit, stdout: Buffer.concat(chunks).toString("utf8") };
}

function throwIfCancelled(purpose: string, signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new CancelledError(`Cannot ${purpose}: it was interrupted`);
}
