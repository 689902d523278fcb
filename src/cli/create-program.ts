import { Command } from "commander";
import { benchCommand } from "./bench-command.js";
import { chatCommand } from "./chat-command.js";
import { doctorCommand } from "./doctor-command.js";
import { evalCommand } from "./eval-command.js";
import { generateCommand } from "./generate-command.js";
import { imageCommand } from "./image-command.js";
import { instanceCommand } from "./instance-command.js";
import { jobCommand } from "./job-command.js";
import type { Output } from "./output.js";
import { overlayCommand } from "./overlay-command.js";
import { packageVersion } from "./package-version.js";
import { slurmCommand } from "./slurm-command.js";
import { reportCommand } from "./report-command.js";
import { simulateCommand } from "./simulate-command.js";
import { upCommand } from "./up-command.js";

/** Options that every command takes. */
export interface GlobalOptions {
  config?: string;
}

export interface CommandContext {
  output: Output;
  /** The exit code of a command that ends without an error. */
  setExitCode: (exitCode: number) => void;
}

const COMMANDS = [
  upCommand,
  generateCommand,
  chatCommand,
  imageCommand,
  overlayCommand,
  instanceCommand,
  jobCommand,
  slurmCommand,
  simulateCommand,
  evalCommand,
  benchCommand,
  reportCommand,
  doctorCommand,
];

/** All commands; parsing throws CommanderError or what a command throws. */
export function createProgram(output: Output, setExitCode: (exitCode: number) => void): Command {
  const context = { output, setExitCode };
  const program = new Command("kitty-kv")
    .description("Run large language models with a 2-bit KV cache.")
    .version(packageVersion(), "-V, --version")
    .option("--json", "one JSON document on stdout, or one a line where it streams")
    .option("-c, --config <file>", "YAML configuration, such as configs/local.yaml")
    .option("-v, --verbose", "print what the worker says to stderr")
    .showSuggestionAfterError()
    .exitOverride()
    // Errors are printed once, by whoever runs the program.
    .configureOutput({ outputError: () => undefined });
  for (const command of COMMANDS) program.addCommand(command(context));
  copySettings(program, program.commands);
  return program;
}

/** Gives commands, and those below them, the program's settings. */
function copySettings(program: Command, commands: readonly Command[]): void {
  for (const command of commands) {
    command.copyInheritedSettings(program);
    copySettings(program, command.commands);
  }
}
