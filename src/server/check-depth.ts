import { ConfigError } from "../errors.js";

const DEEPEST = 32;

/**
 * Refuses values that are nested deeper than anything the API takes, before recursive code sees them.
 * @throws ConfigError
 */
export function checkDepth(value: unknown, attempt: string): void {
  let level: unknown[] = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > DEEPEST) {
      throw new ConfigError(
        `Cannot ${attempt}: the body is nested deeper than ${String(DEEPEST)} levels, make it flat`,
      );
    }
    level = level.flatMap((item) =>
      typeof item === "object" && item !== null ? (Object.values(item) as unknown[]) : [],
    );
  }
}
