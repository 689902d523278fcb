import { z } from "zod";
import type { Config } from "../config/schema.js";
import { CancelledError, ConfigError, KittyError } from "../errors.js";
import { spawnChild, type ChildExit, type Command } from "../process/child.js";
import { findPython } from "./find-python.js";
import { packageRoot } from "./package-root.js";
import { workerEnvironment } from "./worker-environment.js";

const errorSchema = z.object({
  error: z.object({ code: z.string(), message: z.string(), details: z.record(z.string(), z.unknown()) }),
});

// The figures are Python's; what a program reads of them is not ours to change.
const figuresSchema = z.looseObject({ report: z.string() });

/** What a module of ours found: `report` for people, all else for programs. */
export type PythonReport = z.output<typeof figuresSchema>;

export interface PythonTask {
  /** What the module does, for errors: `measure kernels`. */
  name: string;
  /** Of the error when it dies without saying why. */
  failureCode: string;
  /** Takes `--json`, writes its document as the last line, and ends with 0, or with 1 when what it checked is not so. */
  module: string;
  args: readonly string[];
  /** Beside what workers get. */
  env?: Readonly<Record<string, string>> | undefined;
}

/** Values by option name as arguments; what is undefined or null was not given. */
export function toArguments(values: Readonly<Record<string, string | number | null | undefined>>): string[] {
  return Object.entries(values)
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([name, value]) => `--${toKebabCase(name)}=${String(value)}`); // a value may begin with a dash
}

function toKebabCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** Threads that spin while they wait make a machine that others use too several times slower. */
export const HOSTED_ENVIRONMENT = { OMP_WAIT_POLICY: "PASSIVE" } as const;

/** Of Python; the module's stdin stays open as long as this process lives, and ends it with this process however that dies. */
export function hostedArguments({ module, args }: Pick<PythonTask, "module" | "args">): string[] {
  return ["-m", "kitty_kv.hosted", module, "--json", ...args];
}

export interface RunOptions {
  signal: AbortSignal;
  /** Gets each line as the module says it, long before the figures are there. */
  onProgress: (line: string) => void;
}

/**
 * Runs a Python module of ours with the Python that workers have, and waits for its figures.
 * @throws KittyError with what the module says, ConfigError where that is wrong usage
 */
export async function runPythonTask(
  config: Config,
  task: PythonTask,
  { signal, onProgress }: RunOptions,
): Promise<PythonReport> {
  const root = packageRoot();
  const command: Command = {
    file: findPython(config.worker.python, root),
    args: hostedArguments(task),
    env: { ...HOSTED_ENVIRONMENT, ...workerEnvironment(root, process.env), ...task.env },
  };
  return await runHosted(task, command, { signal, onProgress });
}

/**
 * The same by a command that runs the module wherever it is.
 * @param rename what it said, in this machine's words
 */
export async function runHosted(
  task: Omit<PythonTask, "env">,
  command: Command,
  { signal, onProgress }: RunOptions,
  rename: (stdout: string) => string = (stdout) => stdout,
): Promise<PythonReport> {
  throwIfCancelled(task, signal);
  const child = spawnChild(command, onProgress);
  const kill = (): void => {
    child.kill("SIGKILL");
  };
  signal.addEventListener("abort", kill, { once: true });
  const chunks: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  const exit = await child.exited;
  signal.removeEventListener("abort", kill);
  throwIfCancelled(task, signal);
  return readReport(task, rename(Buffer.concat(chunks).toString("utf8")), exit);
}

function throwIfCancelled({ name }: Pick<PythonTask, "name">, signal: AbortSignal): void {
  if (signal.aborted) throw new CancelledError(`Cannot ${name}: it was interrupted`);
}

/** The document is the last line; a package that prints while it is imported comes before. */
function readReport({ name, failureCode }: Omit<PythonTask, "env">, stdout: string, exit: ChildExit): PythonReport {
  const document = parseJson(stdout.trim().split("\n").at(-1) ?? "");
  const { data: refusal } = errorSchema.safeParse(document);
  if (refusal !== undefined) {
    const Refusal = exit.exitCode === 2 ? ConfigError : KittyError;
    throw new Refusal(refusal.error.message, refusal.error);
  }
  const { data: figures } = figuresSchema.safeParse(document);
  if (figures !== undefined && (exit.exitCode === 0 || exit.exitCode === 1)) return figures;
  const end = exit.signal === null ? `exit code ${String(exit.exitCode)}` : `signal ${exit.signal}`;
  const found = exit.startError?.message ?? exit.stderrTail.findLast((line) => line.trim() !== "") ?? "it said nothing";
  throw new KittyError(
    `Cannot ${name}: Python ended with ${end} and no figures (${found}), see what it printed above`,
    { code: failureCode, details: { exitCode: exit.exitCode, signal: exit.signal, stderrTail: exit.stderrTail } },
  );
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
