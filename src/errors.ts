export interface KittyErrorOptions {
  code?: string;
  details?: Readonly<Record<string, unknown>>;
  cause?: unknown;
}

/** Root of every error this package throws on purpose; `code` is stable, `message` is for people. */
export class KittyError extends Error {
  static {
    KittyError.prototype.name = "KittyError";
  }
  readonly code: string;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(message: string, options: KittyErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = options.code ?? "internal";
    this.details = options.details ?? {};
  }

  toJSON(): { code: string; message: string; details: Readonly<Record<string, unknown>> } {
    return { code: this.code, message: this.message, details: this.details };
  }
}

function errorClass(name: string, code: string) {
  const made = class extends KittyError {
    constructor(message: string, options: KittyErrorOptions = {}) {
      super(message, { code, ...options });
    }
  };
  made.prototype.name = name;
  return made;
}

/** A wrong option, argument or configuration file. */
export class ConfigError extends errorClass("ConfigError", "invalid_argument") {}
/** A call did not finish in its time. */
export class TimeoutError extends errorClass("TimeoutError", "timeout") {}
/** A call was given up because its AbortSignal fired. */
export class CancelledError extends errorClass("CancelledError", "cancelled") {}
/** An overlay image is already mounted for writing by somebody else. */
export class OverlayInUseError extends errorClass("OverlayInUseError", "overlay_in_use") {}
/** A job ended in a state other than succeeded. */
export class JobFailedError extends errorClass("JobFailedError", "job_failed") {}
/** The token is missing or wrong. */
export class UnauthorizedError extends errorClass("UnauthorizedError", "unauthorized") {}
/** A model, session, file or program does not exist. */
export class NotFoundError extends errorClass("NotFoundError", "not_found") {}
/** What was asked for is not supported here; nothing else was done instead. */
export class UnsupportedError extends errorClass("UnsupportedError", "unsupported") {}

export interface WorkerExit {
  exitCode: number | null;
  signal: string | null;
  stderrTail: readonly string[];
}

/** The Python worker process ended, was killed, or was stopped because it broke the protocol (`details.reason`). */
export class WorkerExitedError extends KittyError {
  static {
    WorkerExitedError.prototype.name = "WorkerExitedError";
  }
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly stderrTail: readonly string[];

  constructor(message: string, exit: WorkerExit, options: KittyErrorOptions = {}) {
    super(message, { code: "worker_exited", ...options, details: { ...options.details, ...exit } });
    this.exitCode = exit.exitCode;
    this.signal = exit.signal;
    this.stderrTail = exit.stderrTail;
  }
}

export interface WireError {
  code: string;
  message: string;
  details?: Readonly<Record<string, unknown>> | undefined;
}

const CONFIG_CODES = new Set(["invalid_argument", "unknown_preset", "empty_prompt", "context_exceeded"]);
const NOT_FOUND_CODES = new Set(["model_not_found", "not_a_model", "session_not_found", "not_found"]);

/** The error class a caller can catch for an error that came over the wire. */
export function fromWireError(wire: WireError): KittyError {
  const options = { code: wire.code, details: wire.details ?? {} };
  if (CONFIG_CODES.has(wire.code)) return new ConfigError(wire.message, options);
  if (NOT_FOUND_CODES.has(wire.code)) return new NotFoundError(wire.message, options);
  if (wire.code === "unsupported") return new UnsupportedError(wire.message, options);
  return new KittyError(wire.message, options);
}
