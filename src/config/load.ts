import { isUtf8 } from "node:buffer";
import { readFile } from "node:fs/promises";
import { LineCounter, parseDocument, isNode, type Document } from "yaml";
import { ConfigError } from "../errors.js";
import { configSchema, type Config, type ConfigInput } from "./schema.js";
import { validate } from "./validate.js";

/**
 * Reads a YAML configuration file, completes it with defaults, checks and freezes it.
 * @throws ConfigError that names the file, the line and the key
 */
export async function loadConfig(path: string): Promise<Config> {
  const attempt = `read config ${JSON.stringify(path)}`;
  const text = await readText(path, attempt);
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const [error] = document.errors;
  if (error !== undefined) {
    const line = lines.linePos(error.pos[0]).line;
    const details = { path, line };
    throw new ConfigError(`Cannot ${attempt} (line ${String(line)}): ${error.message}`, { details, cause: error });
  }
  const locate = (keys: readonly PropertyKey[]): string => lineOf(document, lines, keys);
  return deepFreeze(validate(configSchema, document.toJS() ?? {}, { attempt, locate }));
}

/** The same for a configuration that is an object already. */
export function resolveConfig(input: ConfigInput = {}): Config {
  return deepFreeze(validate(configSchema, input, { attempt: "use these options" }));
}

async function readText(path: string, attempt: string): Promise<string> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    const message = `Cannot ${attempt}: ${(cause as Error).message.split(",")[0] ?? ""}, check the path`;
    throw new ConfigError(message, { details: { path }, cause });
  }
  if (!isUtf8(bytes))
    throw new ConfigError(`Cannot ${attempt}: it is not UTF-8 text, save it as UTF-8`, { details: { path } });
  return bytes.toString("utf8");
}

/** " (line 4)" for the key at a path, or for the nearest thing above it that has a place. */
function lineOf(document: Document, lines: LineCounter, keys: readonly PropertyKey[]): string {
  for (let length = keys.length; length > 0; length--) {
    const node = document.getIn(keys.slice(0, length).map(String), true);
    const offset = isNode(node) ? node.range?.[0] : undefined;
    if (offset !== undefined) return ` (line ${String(lines.linePos(offset).line)})`;
  }
  return "";
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  for (const inner of Object.values(value)) deepFreeze(inner);
  return Object.freeze(value);
}
