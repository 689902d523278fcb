import { execa } from "execa";
import type { Readable, Writable } from "node:stream";
import { LineSplitter } from "../util/line-splitter.js";
import { killGroup, trackChild } from "./live-children.js";

const STDERR_LINE_LIMIT_BYTES = 64 * 1024;
const STDERR_TAIL_LINES = 50;
// A grandchild may hold the pipes open after the child died; its death is told all the same.
const DRAIN_TIMEOUT_MS = 300;

export interface Command {
  file: string;
  args: readonly string[];
  cwd?: string;
  /** The whole environment: nothing is inherited. */
  env: Readonly<Record<string, string>>;
}

export interface ChildExit {
  exitCode: number | null;
  signal: string | null;
  /** The last 50 lines it wrote to stderr. */
  stderrTail: readonly string[];
  /** Why it could not be started at all. */
  startError: Error | undefined;
}

/** A running program with its own process group, piped stdin and stdout, and stderr as lines. */
export interface Child {
  readonly pid: number | undefined;
  readonly stdin: Writable;
  readonly stdout: Readable;
  /** Resolves when the process is gone and its output was read; never rejects. */
  readonly exited: Promise<ChildExit>;
  kill(signal: "SIGTERM" | "SIGKILL"): void;
}

/**
 * Starts a program from an argument list, never through a shell.
 * It leads its own process group so that Ctrl-C reaches it only through us and so that its children die with it.
 */
export function spawnChild(command: Command, onStderrLine: (line: string) => void): Child {
  const subprocess = execa(command.file, command.args, {
    ...(command.cwd === undefined ? {} : { cwd: command.cwd }),
    env: { ...command.env },
    extendEnv: false,
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
    buffer: false,
    encoding: "buffer",
    detached: true,
    reject: false,
  });
  const { pid, stdin, stdout, stderr } = subprocess;
  // A dead child is told by `exited`; EPIPE on its stdin would say the same thing as an uncaught exception.
  stdin.on("error", () => undefined);
  let isGone = false;
  const untrack = pid === undefined ? () => undefined : trackChild(pid);
  const takeStderrTail = readStderr(stderr, onStderrLine);
  const exited = settleExit(subprocess, stdout, stderr).then(({ exitCode, signal, startError }) => {
    if (pid !== undefined) killGroup(pid, "SIGKILL");
    // From here on the number may be somebody else's.
    isGone = true;
    untrack();
    return { exitCode, signal, startError, stderrTail: takeStderrTail() };
  });
  const kill = (signal: NodeJS.Signals): void => {
    if (pid !== undefined && !isGone) killGroup(pid, signal);
  };
  return { pid, stdin, stdout, exited, kill };
}

type Subprocess = PromiseLike<{ readonly cause?: unknown }> & {
  once(event: "exit", listener: (exitCode: number | null, signal: string | null) => void): unknown;
};

/** execa's own promise waits for every holder of the pipes, so the exit event is the truth here. */
async function settleExit(subprocess: Subprocess, stdout: Readable, stderr: Readable) {
  const exit = await new Promise<Omit<ChildExit, "stderrTail">>((resolve) => {
    subprocess.once("exit", (exitCode, signal) => {
      resolve({ exitCode, signal, startError: undefined });
    });
    void subprocess.then(({ cause }) => {
      resolve({ exitCode: null, signal: null, startError: cause instanceof Error ? cause : undefined });
    });
  });
  if (exit.startError === undefined) await drained([stdout, stderr]);
  return exit;
}

async function drained(streams: readonly Readable[]): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise((resolve) => (timer = setTimeout(resolve, DRAIN_TIMEOUT_MS)));
  await Promise.race([Promise.all(streams.map(closed)), timeout]);
  clearTimeout(timer);
}

async function closed(stream: Readable): Promise<void> {
  if (!stream.closed) await new Promise((resolve) => stream.once("close", resolve));
}

/** @returns what takes the last lines, an unfinished one included, once the stream is over */
function readStderr(stderr: Readable, onStderrLine: (line: string) => void): () => readonly string[] {
  const tail: string[] = [];
  const take = (bytes: Buffer): void => {
    const line = bytes.toString("utf8").trimEnd();
    tail.push(line);
    if (tail.length > STDERR_TAIL_LINES) tail.shift();
    onStderrLine(line);
  };
  const splitter = new LineSplitter({ limitBytes: STDERR_LINE_LIMIT_BYTES, onLine: take, onTooLong: take });
  stderr.on("data", (chunk: Buffer) => {
    splitter.push(chunk);
  });
  stderr.on("error", () => undefined);
  return () => {
    splitter.flush();
    return [...tail];
  };
}
