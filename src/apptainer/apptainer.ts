import { KittyError, NotFoundError } from "../errors.js";
import type { Command } from "../process/child.js";
import { runToEnd } from "../process/run-to-end.js";
import { apptainerEnvironment } from "./apptainer-environment.js";

export interface RunOptions {
  /** What the call is for, as in "Cannot build image …: …". */
  purpose: string;
  signal?: AbortSignal | undefined;
  cwd?: string | undefined;
  onLine?: ((line: string) => void) | undefined;
  /** Leaves stdin open, so that what runs in the container can notice when this process dies. */
  keepsStdinOpen?: boolean;
  /** What Apptainer itself sees. @default this process's, by the allow-list */
  environment?: Readonly<Record<string, string>> | undefined;
}

/** Calls to Apptainer and to the file-system programs it builds on take these. */
export interface ApptainerOptions {
  signal?: AbortSignal | undefined;
  /** Gets each line of progress. */
  onProgress?: ((line: string) => void) | undefined;
  /** The `apptainer` program. @default KITTY_KV_APPTAINER, else `apptainer` on PATH */
  program?: string | undefined;
}

/**
 * Runs `apptainer` with an argument list and returns what it wrote to stdout.
 * @throws NotFoundError `apptainer_not_found`; KittyError `apptainer_failed` with arguments, exit code and stderr;
 *   CancelledError when the signal fires
 */
export async function runApptainer(
  args: readonly string[],
  { program, ...options }: RunOptions & Pick<ApptainerOptions, "program">,
): Promise<string> {
  const file = apptainerProgram(program);
  return runTool(
    { file, args },
    {
      ...options,
      missing: {
        code: "apptainer_not_found",
        remedy: 'install Apptainer 1.2 or later or load its module (see "kitty-kv doctor"), or set KITTY_KV_APPTAINER',
      },
      failureCode: "apptainer_failed",
    },
  );
}

/**
 * Runs one of the programs that Apptainer itself needs (e2fsck, cp, mksquashfs).
 * @throws NotFoundError `program_not_found`; KittyError `program_failed`; CancelledError
 */
export async function runHelper(
  file: string,
  args: readonly string[],
  { debianPackage, okExitCodes, ...options }: RunOptions & { debianPackage: string; okExitCodes?: readonly number[] },
): Promise<string> {
  const missing = { code: "program_not_found", remedy: `install it (Debian, Ubuntu: apt install ${debianPackage})` };
  return runTool({ file, args }, { ...options, okExitCodes, missing, failureCode: "program_failed" });
}

/** The `apptainer` program: what is given, else KITTY_KV_APPTAINER, else the one on PATH. */
export function apptainerProgram(given: string | undefined): string {
  const { KITTY_KV_APPTAINER: named } = process.env;
  return given ?? (named === undefined || named === "" ? "apptainer" : named);
}

interface ToolOptions extends RunOptions {
  missing: { code: string; remedy: string };
  failureCode: string;
  okExitCodes?: readonly number[] | undefined;
}

async function runTool({ file, args }: Pick<Command, "file" | "args">, options: ToolOptions): Promise<string> {
  const { purpose, signal, cwd, onLine, missing, failureCode, okExitCodes = [0], keepsStdinOpen = false } = options;
  const env = options.environment ?? apptainerEnvironment(process.env);
  const command = { file, args, env, ...(cwd === undefined ? {} : { cwd }) };
  const lines = { onStdoutLine: onLine, onStderrLine: onLine };
  const {
    exitCode,
    signal: killedBy,
    startError,
    stderrTail,
    stdout,
  } = await runToEnd(command, {
    purpose,
    signal,
    keepsStdinOpen,
    ...lines,
  });
  if (startError !== undefined) {
    throw new NotFoundError(
      `Cannot ${purpose}: ${JSON.stringify(file)} cannot be started (${startError.message}), ${missing.remedy}`,
      { code: missing.code, details: { program: file }, cause: startError },
    );
  }
  if (exitCode !== null && okExitCodes.includes(exitCode)) return stdout;
  const end = killedBy === null ? `exit code ${String(exitCode)}` : `signal ${killedBy}`;
  throw new KittyError(`Cannot ${purpose}: ${file} ended with ${end} (${lastWords(stderrTail)})`, {
    code: failureCode,
    details: { program: file, arguments: args, exitCode, signal: killedBy, stderrTail },
  });
}

/** The line that says why: Apptainer writes INFO and WARNING lines around its FATAL one. */
function lastWords(stderrTail: readonly string[]): string {
  const clean = stderrTail.map(stripColours).filter((line) => line.trim() !== "");
  return (clean.findLast((line) => line.startsWith("FATAL")) ?? clean.at(-1) ?? "it said nothing").trim();
}

function stripColours(line: string): string {
  // eslint-disable-next-line no-control-regex -- escape sequences are what is removed
  return line.replace(/\u001b\[\d*m/g, "");
}
