import { LineCounter, parseDocument } from "yaml";
import { ConfigError } from "../errors.js";

/**
 * Reads YAML, of which JSON is a part, without checking what it says.
 * @param attempt what it is read for, for the error
 * @throws ConfigError that names the line
 */
export function parseYaml(text: string, attempt: string): unknown {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const [error] = document.errors;
  if (error !== undefined) {
    const { line } = lines.linePos(error.pos[0]);
    throw new ConfigError(`Cannot ${attempt} (line ${String(line)}): ${error.message}`, {
      details: { line },
      cause: error,
    });
  }
  try {
    return document.toJS() as unknown;
  } catch (cause) {
    // Aliases that grow without end are found only here.
    const found = cause instanceof Error ? cause.message : String(cause);
    throw new ConfigError(`Cannot ${attempt}: ${found}, write it without so many aliases`, { cause });
  }
}
