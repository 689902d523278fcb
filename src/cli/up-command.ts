import { join } from "node:path";
import { Command } from "commander";
import { Kitty, loadConfig, resolveConfig, serve, type Config, type Session } from "../index.js";
import type { CommandContext, GlobalOptions } from "./create-program.js";
import { printStream } from "./generate-command.js";
import { toDocument, toSentence } from "./generation-report.js";
import { packageRoot } from "../runner/package-root.js";
import { runChecks } from "./doctor/run-checks.js";
import { Interrupt } from "./interrupt.js";
import type { Output } from "./output.js";
import { packageVersion } from "./package-version.js";
import { parsePort } from "./parse-flags.js";
import { addRunnerFlags, runnerOverrides, type RunnerFlags } from "./runner-flags.js";

const PROMPT = "Once upon a time";

interface UpOptions extends GlobalOptions, RunnerFlags {
  host?: string;
  port?: number;
  once?: boolean;
}

/** `up`: the orchestrator behind its HTTP server, and one generation to see that it works. */
export function upCommand({ output, setExitCode }: CommandContext): Command {
  return addRunnerFlags(new Command("up"))
    .description("start the orchestrator, show one generation, and serve the HTTP API until Ctrl-C")
    .option("--host <host>", "address to listen on (127.0.0.1)")
    .option("--port <port>", "port to listen on, 0 for any (7717)", parsePort("--port"))
    .option("--once", "stop after the generation, and serve nothing")
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
  if (isOnce) {
    await using session = await kitty.sessions.open({ signal });
    return await showGeneration(session, signal, output);
  }
  await using server = await serve(kitty, {
    ...{ version: packageVersion(), onDefect: output.defect, dashboard: join(packageRoot(), "dist", "dashboard") },
    checkMachine: () => runChecks(config),
  });
  // Takes up the jobs that an earlier orchestrator of this folder left, or refuses beside one that runs.
  const lastSeq = await kitty.jobs.events.latest();
  output.note(`Listening on ${server.url}, at event ${String(lastSeq)}; loading the model …`);
  const session = await server.model.load(signal);
  if (output.isJson) await output.json({ url: server.url, token: server.token });
  else if (await showGeneration(session, signal, output)) return true;
  // Behind "#", where browsers send it to nobody.
  if (!output.isJson) await output.line(`${server.url}/#token=${server.token}`);
  output.note("Ctrl-C stops.");
  await interrupt.wait();
  return false;
}

async function showGeneration(session: Session, signal: AbortSignal, output: Output): Promise<boolean> {
  output.note(`${session.model.name} on ${session.model.device}, ${session.model.dtype}`);
  const stream = session.generate(PROMPT, { signal });
  if (!output.isJson) await output.text(PROMPT);
  const result = output.isJson ? await stream.result() : await printStream(stream, output);
  if (output.isJson) await output.json(toDocument(result));
  output.note(toSentence(result));
  return result.finishReason === "cancelled" && !output.isClosed;
}
