import { Command } from "commander";
import { loadConfig, resolveConfig } from "../index.js";
import type { CommandContext, GlobalOptions } from "./create-program.js";
import { runChecks } from "./doctor/run-checks.js";
import type { Check } from "./doctor/check.js";
import { packageVersion } from "./package-version.js";

/** `doctor`: what works here, and what to do about what does not. */
export function doctorCommand({ output, setExitCode }: CommandContext): Command {
  return new Command("doctor")
    .description("check what works on this machine; exit code 1 when something needed does not")
    .action(async (_flags: object, self: Command) => {
      const { config: file } = self.optsWithGlobals<GlobalOptions>();
      const config = file === undefined ? resolveConfig() : await loadConfig(file);
      const checks = await runChecks(config);
      const isOk = checks.every(({ status }) => status !== "failed");
      if (output.isJson) await output.json({ version: packageVersion(), ok: isOk, checks });
      else await output.line(toTable(checks));
      if (!isOk) setExitCode(1);
    });
}

const SIGNS = { ok: "ok", failed: "FAILED", info: "-" } as const;

function toTable(checks: readonly Check[]): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  return checks
    .map(({ name, status, found, remedy }) => {
      const line = `${SIGNS[status].padEnd(6)}  ${name.padEnd(width)}  ${found}`;
      return remedy === undefined ? line : `${line}\n${" ".repeat(width + 10)}To do: ${remedy}`;
    })
    .join("\n");
}
