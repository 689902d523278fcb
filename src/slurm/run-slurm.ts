import { CancelledError, KittyError, NotFoundError } from "../errors.js";
import { runToEnd } from "../process/run-to-end.js";
import { slurmEnvironment } from "./slurm-environment.js";
import { classifyFailure, type FailureKind } from "./classify-failure.js";

// Slurm's own MessageTimeout is 10 s, at busy sites up to 100 s, and its commands try again.
const TIMEOUT_MS = 180_000;

export type SlurmCommand = "sbatch" | "srun" | "squeue" | "sacct" | "scancel" | "sinfo" | "scontrol";

export interface SlurmOptions {
  signal?: AbortSignal | undefined;
  /** @default 180 s */
  timeoutMs?: number | undefined;
}

export interface SlurmOutput {
  stdout: string;
  stderrTail: readonly string[];
}

/** A Slurm command that failed; `kind` says what is known about it. */
export class SlurmError extends KittyError {
  protected static override readonly defaultCode = "slurm_failed";
  readonly kind: FailureKind;

  constructor(message: string, kind: FailureKind, details: Readonly<Record<string, unknown>>) {
    super(message, { code: `slurm_${kind}`, details: { ...details, kind } });
    this.kind = kind;
  }
}

/**
 * Runs one of Slurm's commands with an argument list, never through a shell.
 * @param purpose as in "Cannot submit jobs: …"
 * @throws NotFoundError `slurm_not_found`; SlurmError with the site's own message; CancelledError
 */
export async function runSlurm(
  command: SlurmCommand,
  args: readonly string[],
  purpose: string,
  { signal, timeoutMs = TIMEOUT_MS }: SlurmOptions = {},
): Promise<SlurmOutput> {
  const timeout = AbortSignal.timeout(timeoutMs);
  const stop = signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
  const call = { file: command, args, env: slurmEnvironment(process.env) };
  const exit = await runToEnd(call, { purpose, signal: stop }).catch((error: unknown) => {
    if (!(error instanceof CancelledError) || signal?.aborted === true) throw error;
    const found = `${command} gave no answer in ${String(timeoutMs / 1000)} s`;
    throw new SlurmError(`Cannot ${purpose}: ${found}; see whether slurmctld is well`, "ambiguous", { command, args });
  });
  const { exitCode, signal: killedBy, startError, stderrTail, stdout } = exit;
  if (startError !== undefined) throw notFound(command, purpose, startError);
  const said = stderrTail.filter((line) => line.trim() !== "");
  // Some versions end with 0 although they could not do it.
  const isSilentFailure = stdout.trim() === "" && said.some((line) => /^\w+:? (fatal|error):/.test(line));
  if (exitCode === 0 && !isSilentFailure) return { stdout, stderrTail: said };
  const { kind, reason, remedy } = classifyFailure(said);
  const end = killedBy === null ? `exit code ${String(exitCode)}` : `signal ${killedBy}`;
  throw new SlurmError(`Cannot ${purpose}: ${command} says ${JSON.stringify(reason || end)}; ${remedy}`, kind, {
    ...{ command, args, exitCode, signal: killedBy, stderrTail: said, reason, remedy },
  });
}

function notFound(command: string, purpose: string, cause: Error): NotFoundError {
  return new NotFoundError(
    `Cannot ${purpose}: ${JSON.stringify(command)} cannot be started (${cause.message.split("\n")[0] ?? ""}), run this on a login node of the cluster, or load its Slurm module`,
    { code: "slurm_not_found", details: { program: command }, cause },
  );
}
