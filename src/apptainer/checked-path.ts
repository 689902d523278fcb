import { resolve } from "node:path";
import { ConfigError } from "../errors.js";

/**
 * The absolute form of a path that becomes part of an Apptainer argument.
 * It never begins with a dash; what Apptainer would read as the end of a path (`:` and `,`) is refused.
 * @throws ConfigError `invalid_path`
 */
export function checkedPath(path: string, what: string): string {
  // eslint-disable-next-line no-control-regex -- control characters are what is looked for
  if (path === "" || /[:,\u0000-\u001f\u007f]/.test(path)) {
    throw new ConfigError(
      `Cannot use ${JSON.stringify(path)} as ${what}: it is empty or has a colon, comma or control character, which Apptainer would read as the end of the path; rename it`,
      { code: "invalid_path", details: { path } },
    );
  }
  return resolve(path);
}
