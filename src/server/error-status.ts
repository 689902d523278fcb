import {
  CancelledError,
  ConfigError,
  KittyError,
  NotFoundError,
  TimeoutError,
  UnauthorizedError,
  UnsupportedError,
  WorkerExitedError,
} from "../errors.js";

const STATUS_OF_CODE: Readonly<Record<string, number>> = {
  forbidden: 403,
  model_not_found: 404,
  session_not_found: 404,
  job_not_found: 404,
  job_file_not_found: 404,
  route_not_found: 404,
  dashboard_not_built: 404,
  method_not_allowed: 405,
  session_busy: 409,
  generation_in_use: 409,
  idempotency_conflict: 409,
  job_state_conflict: 409,
  orchestrator_running: 409,
  overlay_in_use: 409,
  overlay_exists: 409,
  overlay_sealed: 409,
  overlay_not_provisioned: 409,
  overlay_not_sealed: 409,
  overlay_tampered: 409,
  overlay_image_mismatch: 409,
  instance_elsewhere: 409,
  payload_too_large: 413,
  unsupported_media_type: 415,
  queue_full: 429,
  rate_limited: 429,
  loading: 503,
  closed: 503,
  out_of_memory: 503,
  store_busy: 503,
  slurm_unreachable: 503,
  slurm_ambiguous: 503,
  slurm_busy: 503,
  // This machine lacks a program, which is no fault of the request and passes with no waiting.
  apptainer_not_found: 501,
  program_not_found: 501,
  slurm_not_found: 501,
  disk_full: 507,
  overlay_full: 507,
};

/** The HTTP status of an error; whatever we did not expect is 500. */
export function statusOf(error: KittyError): number {
  const byCode = STATUS_OF_CODE[error.code];
  if (byCode !== undefined) return byCode;
  if (error instanceof UnauthorizedError) return 401;
  if (error instanceof NotFoundError) return 404;
  if (error instanceof ConfigError || error instanceof UnsupportedError) return 400;
  // The next request finds a new worker.
  if (error instanceof WorkerExitedError) return 503;
  if (error instanceof TimeoutError) return 504;
  // Nobody is left to read it.
  return error instanceof CancelledError ? 499 : 500;
}

/** After how many seconds a client may try again, for errors that pass. */
export function retryAfterSeconds(error: KittyError): number | undefined {
  const status = statusOf(error);
  if (status !== 429 && status !== 503) return undefined;
  const { retryAfterSeconds: seconds } = error.details;
  return typeof seconds === "number" ? seconds : 1;
}

/** Any thrown value as an error that may be shown; what was not thrown on purpose keeps its text to itself. */
export function toKittyError(error: unknown): KittyError {
  if (error instanceof KittyError) return error;
  return (
    fromBodyParser(error) ?? new KittyError("Cannot answer: the server has a defect here; its log has the details")
  );
}

/** What Express's own middleware throws about a request. */
function fromBodyParser(error: unknown): KittyError | undefined {
  if (!(error instanceof Error) || !("status" in error)) return undefined;
  const { status } = error;
  const found = error.message.slice(0, 200);
  if (status === 413) {
    return new ConfigError("Cannot read the request: its body is larger than server.maxBodyMiB, send less at once", {
      code: "payload_too_large",
    });
  }
  if (status === 415) {
    return new ConfigError(`Cannot read the request: ${found}; send UTF-8 without compression, gzip or deflate`, {
      code: "unsupported_media_type",
    });
  }
  if (typeof status !== "number" || status >= 500) return undefined;
  return new ConfigError(`Cannot read the request: ${found}; send what the API's document describes`);
}
