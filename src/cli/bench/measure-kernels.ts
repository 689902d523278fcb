import { z } from "zod";
import { CancelledError, KittyError, type Config } from "../../index.js";
import { spawnChild, type ChildExit } from "../../process/child.js";
import { findPython } from "../../runner/find-python.js";
import { packageRoot } from "../../runner/package-root.js";
import { workerEnvironment } from "../../runner/worker-environment.js";

const errorSchema = z.object({
  error: z.object({ code: z.string(), message: z.string(), details: z.record(z.string(), z.unknown()) }),
});

// The figures are Python's; what a program reads of them is not ours to change.
const figuresSchema = z.looseObject({ report: z.string() });

export type KernelFigures = z.output<typeof figuresSchema>;

export interface MeasureOptions {
  signal: AbortSignal;
  /** Gets each line as the module says it, long before the figures are there. */
  onProgress: (line: string) => void;
}

/**
 * Runs `python -m kitty_kernels.bench` with the Python that workers have, and waits for its figures.
 * @throws KittyError with what the module says, such as that there is no GPU
 */
export async function measureKernels(
  config: Config,
  args: readonly string[],
  { signal, onProgress }: MeasureOptions,
): Promise<KernelFigures> {
  const root = packageRoot();
  const command = {
    file: findPython(config.worker.python, root),
    args: ["-m", "kitty_kernels.bench", "--json", ...args],
    env: workerEnvironment(root, process.env),
  };
  throwIfCancelled(signal);
  const child = spawnChild(command, onProgress);
  const kill = (): void => {
    child.kill("SIGKILL");
  };
  signal.addEventListener("abort", kill, { once: true });
  const chunks: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  child.stdin.end();
  const exit = await child.exited;
  signal.removeEventListener("abort", kill);
  throwIfCancelled(signal);
  return readFigures(Buffer.concat(chunks).toString("utf8"), exit);
}

function throwIfCancelled(signal: AbortSignal): void {
  if (signal.aborted) throw new CancelledError("Cannot measure kernels: it was interrupted");
}

/** The document is the last line; a package that prints while it is imported comes before. */
function readFigures(stdout: string, exit: ChildExit): KernelFigures {
  const document = parseJson(stdout.trim().split("\n").at(-1) ?? "");
  const { data: refusal } = errorSchema.safeParse(document);
  if (refusal !== undefined) throw new KittyError(refusal.error.message, refusal.error);
  const { data: figures } = figuresSchema.safeParse(document);
  if (figures !== undefined && exit.exitCode === 0) return figures;
  const end = exit.signal === null ? `exit code ${String(exit.exitCode)}` : `signal ${exit.signal}`;
  const found = exit.startError?.message ?? exit.stderrTail.findLast((line) => line.trim() !== "") ?? "it said nothing";
  throw new KittyError(
    `Cannot measure kernels: Python ended with ${end} and no figures (${found}), see what it printed above`,
    { code: "bench_failed", details: { exitCode: exit.exitCode, signal: exit.signal, stderrTail: exit.stderrTail } },
  );
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
