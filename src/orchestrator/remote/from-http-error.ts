import { z } from "zod";
import { fromWireError } from "../../bridge/from-wire-error.js";
import { wireErrorSchema } from "../../bridge/messages.js";
import {
  CancelledError,
  ConfigError,
  JobFailedError,
  KittyError,
  NotFoundError,
  TimeoutError,
  UnauthorizedError,
  UnsupportedError,
  WorkerExitedError,
  type KittyErrorOptions,
} from "../../errors.js";

const bodySchema = z.object({ error: wireErrorSchema });
const exitSchema = z.object({
  exitCode: z.number().nullable(),
  signal: z.string().nullable(),
  stderrTail: z.array(z.string()),
});

type ErrorClass = new (message: string, options: KittyErrorOptions) => KittyError;

const CLASS_OF_CODE: Readonly<Record<string, ErrorClass>> = {
  unauthorized: UnauthorizedError,
  unsupported: UnsupportedError,
  timeout: TimeoutError,
  cancelled: CancelledError,
  job_failed: JobFailedError,
};
const CLASS_OF_STATUS: Readonly<Record<number, ErrorClass>> = {
  400: ConfigError,
  401: UnauthorizedError,
  404: NotFoundError,
  504: TimeoutError,
};

/** The error that the same call would have thrown in the server's own process. */
export function fromHttpError(status: number, body: unknown, url: string): KittyError {
  const { data } = bodySchema.safeParse(body);
  if (data !== undefined) return fromErrorObject(data.error, status);
  return new KittyError(
    `Cannot use ${url}: it answers ${String(status)} and is no Kitty KV server, check the address`,
    {
      code: "invalid_answer",
      details: { status },
    },
  );
}

/** The same for an error that came in a stream, whose status was out already. */
export function fromErrorObject(error: z.output<typeof wireErrorSchema>, status = 0): KittyError {
  const { code, message, details = {} } = error;
  const exit = exitSchema.safeParse(details);
  if (code === "worker_exited" && exit.success) return new WorkerExitedError(message, exit.data, { details });
  const kind = CLASS_OF_CODE[code] ?? CLASS_OF_STATUS[status];
  return kind === undefined ? fromWireError(error) : new kind(message, { code, details });
}
