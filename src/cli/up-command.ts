import { Command } from "commander";
import { Kitty, loadConfig, resolveConfig, type Config } from "../index.js";
import type { CommandContext, GlobalOptions } from "./create-program.js";
import { printStream } from "./generate-command.js";
import { toDocument, toSentence } from "./generation-report.js";
import { Interrupt } from "./interrupt.js";
import type { Output } from "./output.js";
import { parsePort } from "./parse-flags.js";
import { addRunnerFlags, runnerOverrides, type RunnerFlags } from "./runner-flags.js";

const PROMPT = "Once upon a time";

interface UpOptions extends GlobalOptions, RunnerFlags {
  host?: string;
  port?: number;
  once?: boolean;
}

/** `up`: the orchestrator with its runner, and one generation to see that it works. */
export function upCommand({ output, setExitCode }: CommandContext): Command {
  return addRunnerFlags(new Command("up"))
    .description("start the orchestrator, show one generation, and stay until Ctrl-C")
    .option("--host <host>", "address the server will listen on (127.0.0.1)")
    .option("--port <port>", "port the server will listen on (7717)", parsePort("--port"))
    .option("--once", "stop after the generation")
    .action(async (_flags: object, self: Command) => {
      const options = self.optsWithGlobals<UpOptions>();
      if (await up(await readConfig(options), options.once === true, output)) setExitCode(130);
    });
}

async function readConfig({ config: file, host, port, ...flags }: UpOptions): Promise<Config> {
  const config = file === undefined ? resolveConfig() : await loadConfig(file);
  const server = { ...config.server, ...(host === undefined ? {} : { host }), ...(port === undefined ? {} : { port }) };
  return resolveConfig({ ...config, ...runnerOverrides(flags, config), server });
}

/** @returns whether the generation was cancelled */
async function up(config: Config, isOnce: boolean, output: Output): Promise<boolean> {
  using interrupt = new Interrupt();
  const signal = AbortSignal.any([interrupt.signal, output.closed]);
  output.note("Starting a worker …");
  await using kitty = await Kitty.start({ config, onLog: output.log, signal });
  if (await showGeneration(kitty, signal, output)) return true;
  if (isOnce) return false;
  output.note(
    "The HTTP server and the dashboard arrive with a later version; until then use the CLI or the SDK. Ctrl-C stops.",
  );
  await interrupt.wait();
  return false;
}

async function showGeneration(kitty: Kitty, signal: AbortSignal, output: Output): Promise<boolean> {
  await using session = await kitty.sessions.open({ signal });
  output.note(`${session.model.name} on ${session.model.device}, ${session.model.dtype}`);
  const stream = session.generate(PROMPT, { signal });
  if (!output.isJson) await output.text(PROMPT);
  const result = output.isJson ? await stream.result() : await printStream(stream, output);
  if (output.isJson) await output.json(toDocument(result));
  output.note(toSentence(result));
  return result.finishReason === "cancelled" && !output.isClosed;
}
