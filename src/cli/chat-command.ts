import { Command } from "commander";
import { ConfigError, Kitty, type Session } from "../index.js";
import type { CommandContext } from "./create-program.js";
import {
  addGenerationFlags,
  readGenerationFlags,
  type GenerationFlags,
  type GenerationSetup,
} from "./generation-flags.js";
import { printStream } from "./generate-command.js";
import { toDocument, toSentence } from "./generation-report.js";
import { Interrupt } from "./interrupt.js";
import type { Output } from "./output.js";
import { readStdinLines } from "./read-stdin.js";

/** `chat`: many turns in one session; its KV cache stays, so a turn costs only its own tokens. */
export function chatCommand({ output, setExitCode }: CommandContext): Command {
  const command = new Command("chat").description("many turns in one session; one line of stdin a turn, /exit ends it");
  return addGenerationFlags(command).action(async (_flags: object, self: Command) => {
    const setup = await readGenerationFlags(self.optsWithGlobals<GenerationFlags>());
    const isCancelled = await chat(setup, output);
    if (isCancelled && !output.isClosed) setExitCode(130);
  });
}

/** @returns whether Ctrl-C ended it */
async function chat(setup: GenerationSetup, output: Output): Promise<boolean> {
  using interrupt = new Interrupt();
  const signal = AbortSignal.any([interrupt.signal, output.closed]);
  await using kitty = await Kitty.start({ config: setup.config, onLog: output.log, signal });
  await using session = await kitty.sessions.open({ ...setup.session, signal });
  const stopReading = (): void => void process.stdin.destroy();
  signal.addEventListener("abort", stopReading, { once: true });
  greet(session, output);
  let turns = 0;
  for await (const line of readLinesUntil(signal)) {
    if (line === "/exit") break;
    if (line.trim() !== "") {
      const isCancelled = await turn(session, toInput(session, line, turns++), { setup, output, interrupt });
      // At a terminal the next line may follow; a script that was interrupted ends.
      if (isCancelled && !process.stdin.isTTY) return true;
    }
    askForLine();
  }
  process.stdin.destroy();
  return interrupt.signal.aborted;
}

interface TurnContext {
  setup: GenerationSetup;
  output: Output;
  interrupt: Interrupt;
}

type Input = Parameters<Session["generate"]>[0];

async function turn(session: Session, input: Input, { setup, output, interrupt }: TurnContext): Promise<boolean> {
  return interrupt.during(async (ctrlC) => {
    try {
      const signal = AbortSignal.any([ctrlC, output.closed]);
      const stream = session.generate(input, { ...setup.sampling, signal });
      const result = output.isJson ? await stream.result() : await printStream(stream, output);
      if (output.isJson) await output.json(toDocument(result));
      else output.note(toSentence(result));
      return ctrlC.aborted;
    } catch (error) {
      // A person can put it another way; a script cannot.
      if (!process.stdin.isTTY || !(error instanceof ConfigError)) throw error;
      await output.error(error);
      return false;
    }
  });
}

/** A model without a chat template only goes on from a text, so turns are lines of one text. */
function toInput(session: Session, line: string, turns: number): Input {
  if (session.model.chatTemplate) return [{ role: "user", content: line }];
  return turns === 0 ? line : `\n${line}`;
}

function greet(session: Session, output: Output): void {
  if (!process.stdin.isTTY) return;
  const kind = session.model.chatTemplate ? "" : ", which has no chat template and just goes on from your text";
  output.note(`${session.model.name}${kind}; /exit or Ctrl-D ends it, Ctrl-C stops a turn`);
  askForLine();
}

function askForLine(): void {
  if (process.stdin.isTTY) process.stderr.write("> ");
}

async function* readLinesUntil(signal: AbortSignal): AsyncGenerator<string, void> {
  try {
    yield* readStdinLines();
  } catch (error) {
    // Destroying stdin is how a waiting read is ended.
    if (!signal.aborted) throw error;
  }
}
