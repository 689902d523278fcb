import { CommanderError } from "commander";
import { createProgram } from "./create-program.js";
import { exitCodeOf, usageError } from "./exit-code.js";
import { Output } from "./output.js";

/**
 * Runs one command line and prints what goes wrong as one sentence, or as a JSON document.
 * @returns the exit code: 0 done, 1 failed, 2 wrong usage or config, 130 cancelled
 */
export async function runCli(args: readonly string[]): Promise<number> {
  const options = args.includes("--") ? args.slice(0, args.indexOf("--")) : args;
  const output = new Output({ isJson: options.includes("--json"), isVerbose: hasVerbose(options) });
  const state = { exitCode: 0 };
  const program = createProgram(output, (exitCode) => (state.exitCode = exitCode));
  try {
    await program.parseAsync([...args], { from: "user" });
    return state.exitCode;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    if (output.isClosed) return 0;
    const known = error instanceof CommanderError ? usageError(error, args) : error;
    await output.error(known);
    return exitCodeOf(known);
  } finally {
    await output.flush();
  }
}

function hasVerbose(options: readonly string[]): boolean {
  return options.includes("--verbose") || options.includes("-v");
}
