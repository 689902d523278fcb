import { readFile } from "node:fs/promises";
import { ConfigError, parseYaml } from "../index.js";
import { readStdin } from "./read-stdin.js";

/**
 * Reads a job spec, which whoever stores it checks.
 * @param file YAML or JSON, or - for stdin
 * @throws ConfigError when it cannot be read
 */
export async function readJobSpec(file: string): Promise<unknown> {
  const attempt = `read the job spec ${file === "-" ? "on stdin" : JSON.stringify(file)}`;
  if (file === "-") return parseYaml(await readStdin(), attempt);
  const text = await readFile(file, "utf8").catch((cause: unknown) => {
    const found = (cause as Error).message.split(",")[0] ?? "";
    throw new ConfigError(`Cannot ${attempt}: ${found}, check the path`, { details: { file }, cause });
  });
  return parseYaml(text, attempt);
}
