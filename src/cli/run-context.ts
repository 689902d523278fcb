import type { CommandContext } from "./create-program.js";
import { Interrupt } from "./interrupt.js";

export interface RunContext {
  /** Fires at Ctrl-C, and when nobody reads stdout any more. */
  signal: AbortSignal;
  onProgress: (line: string) => void;
}

/** Runs work that can be interrupted and says on stderr how far it is. */
export async function runInterruptibly<T>(
  { output }: CommandContext,
  work: (context: RunContext) => Promise<T>,
): Promise<T> {
  using interrupt = new Interrupt();
  const signal = AbortSignal.any([interrupt.signal, output.closed]);
  return await work({
    signal,
    onProgress: (line) => {
      output.note(line);
    },
  });
}
