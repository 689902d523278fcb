/** Says on stderr what goes wrong where nobody waits for it. */
export function reportError(error: unknown): void {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
}
