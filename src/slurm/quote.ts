import { ConfigError } from "../errors.js";

/** A text as one word of a POSIX shell, whatever it holds. */
export function quoteForShell(text: string): string {
  if (text.includes("\0")) {
    throw new ConfigError(`Cannot write ${JSON.stringify(text)} into a script: it has a zero character, remove it`);
  }
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/**
 * A value as sbatch reads it in an `#SBATCH` line: no shell is involved, but spaces, quotes, backslashes and # mean
 * something there.
 * @throws ConfigError for a control character, above all a newline, which would begin a line of its own
 */
export function quoteForDirective(text: string, what: string): string {
  // eslint-disable-next-line no-control-regex -- control characters are what is looked for
  if (/[\u0000-\u001f\u007f]/.test(text)) {
    throw new ConfigError(
      `Cannot write ${what} ${JSON.stringify(text)} into a batch script: it has a control character, remove it`,
      { code: "invalid_directive", details: { what, value: text } },
    );
  }
  if (/^[\w@%+=:,./[\]*-]*$/.test(text)) return text;
  return `"${text.replaceAll(/["\\]/g, (character) => `\\${character}`)}"`;
}
