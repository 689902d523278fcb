import type { CommanderError } from "commander";
import { CancelledError, ConfigError, KittyError } from "../index.js";

const WRONG_USAGE = new Set(["model_not_found", "not_a_model"]);

/** 1 failed, 2 wrong usage or configuration, 130 cancelled. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof CancelledError) return 130;
  if (error instanceof ConfigError) return 2;
  return error instanceof KittyError && WRONG_USAGE.has(error.code) ? 2 : 1;
}

/** What commander found wrong with the command line, in our words. */
export function usageError(error: CommanderError, args: readonly string[]): ConfigError {
  const command = args.find((arg) => !arg.startsWith("-"));
  const isKnown = command !== undefined && error.code !== "commander.unknownCommand";
  const help = `kitty-kv ${isKnown ? `${command} ` : ""}--help`;
  const message = error.code === "commander.help" ? "no command was given" : error.message;
  const text = message.replace(/^error: /, "").replace(/\s*\n\(?did you mean (.*?)\?\)?$/i, ", did you mean $1?");
  const found = text.replace(/[.?]$/, (end) => (end === "?" ? end : ""));
  const next = found.endsWith("?") ? ` Or see "${help}"` : `, see "${help}"`;
  return new ConfigError(`Cannot read the command line: ${found}${next}`, {
    code: "usage",
    details: { arguments: args },
  });
}
