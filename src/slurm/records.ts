/** Between fields: a character that no name of Slurm's has, and that its own columns never contain. */
export const SEPARATOR = "\u001f";

/** The `--Format` of squeue and sinfo with these fields, each as wide as it is. */
export function formatOf(fields: readonly string[]): string {
  return fields.map((field) => `${field}:${SEPARATOR}`).join(",");
}

/**
 * Cuts output in that format. A record ends with a separator and a newline, so that names may hold newlines; what a
 * site's own scripts print before is cut off. Records with another number of fields are not ours and are left out.
 */
export function parseRecords(text: string, fieldCount: number): string[][] {
  return text
    .split(`${SEPARATOR}\n`)
    .map((record) => record.split(SEPARATOR))
    .filter((fields) => fields.length === fieldCount)
    .map(([first = "", ...rest]) => [first.slice(first.lastIndexOf("\n") + 1), ...rest].map((field) => field.trim()));
}

/** A time as SLURM_TIME_FORMAT=standard has it, in this machine's zone; undefined for `N/A`, `Unknown` and `None`. */
export function parseTime(text: string): Date | undefined {
  if (!/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}$/.test(text)) return undefined;
  return new Date(text);
}

/** The other way round, for options that take a time. */
export function formatTime(time: Date): string {
  const two = (value: number): string => String(value).padStart(2, "0");
  const date = [String(time.getFullYear()), two(time.getMonth() + 1), two(time.getDate())].join("-");
  return `${date}T${[time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(":")}`;
}

/** Text columns hold these words where there is nothing. */
export function orNull(text: string): string | null {
  return ["", "(null)", "N/A", "None", "none", "Unknown", "None assigned"].includes(text) ? null : text;
}
