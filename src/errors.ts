export interface KittyErrorOptions {
  code?: string;
  details?: Readonly<Record<string, unknown>>;
  cause?: unknown;
}

/** Root of every error this package throws on purpose; `code` is stable, `message` is for people. */
export class KittyError extends Error {
  protected static readonly defaultCode: string = "internal";
  readonly code: string;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(message: string, options: KittyErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = options.code ?? new.target.defaultCode;
    this.details = options.details ?? {};
  }

  toJSON(): { code: string; message: string; details: Readonly<Record<string, unknown>> } {
    return { code: this.code, message: this.message, details: this.details };
  }
}

/** A wrong option, argument or configuration file. */
export class ConfigError extends KittyError {
  protected static override readonly defaultCode = "invalid_argument";
}
/** A call did not finish in its time. */
export class TimeoutError extends KittyError {
  protected static override readonly defaultCode = "timeout";
}
/** A call was given up because its AbortSignal fired. */
export class CancelledError extends KittyError {
  protected static override readonly defaultCode = "cancelled";
}
/** An overlay image is already mounted for writing by somebody else. */
export class OverlayInUseError extends KittyError {
  protected static override readonly defaultCode = "overlay_in_use";
}
/** A job ended in a state other than succeeded. */
export class JobFailedError extends KittyError {
  protected static override readonly defaultCode = "job_failed";
}
/** The token is missing or wrong. */
export class UnauthorizedError extends KittyError {
  protected static override readonly defaultCode = "unauthorized";
}
/** A model, session, file or program does not exist. */
export class NotFoundError extends KittyError {
  protected static override readonly defaultCode = "not_found";
}
/** What was asked for is not supported here; nothing else was done instead. */
export class UnsupportedError extends KittyError {
  protected static override readonly defaultCode = "unsupported";
}

export interface WorkerExit {
  exitCode: number | null;
  signal: string | null;
  stderrTail: readonly string[];
}

/** The Python worker process ended, was killed, or was stopped because it broke the protocol (`details.reason`). */
export class WorkerExitedError extends KittyError {
  protected static override readonly defaultCode = "worker_exited";
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly stderrTail: readonly string[];

  constructor(message: string, exit: WorkerExit, options: KittyErrorOptions = {}) {
    super(message, { ...options, details: { ...options.details, ...exit } });
    this.exitCode = exit.exitCode;
    this.signal = exit.signal;
    this.stderrTail = exit.stderrTail;
  }
}

// On the prototypes, as the built-in errors have it, and as text, since a bundler may rename a class.
const NAMES = {
  KittyError,
  ConfigError,
  TimeoutError,
  CancelledError,
  OverlayInUseError,
  JobFailedError,
  UnauthorizedError,
  NotFoundError,
  UnsupportedError,
  WorkerExitedError,
};
for (const [name, { prototype }] of Object.entries(NAMES)) prototype.name = name;
