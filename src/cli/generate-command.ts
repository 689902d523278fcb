import { Command } from "commander";
import { ConfigError, Kitty, type GenerationResult, type GenerationStream } from "../index.js";
import type { CommandContext } from "./create-program.js";
import {
  addGenerationFlags,
  readGenerationFlags,
  type GenerationFlags,
  type GenerationSetup,
} from "./generation-flags.js";
import { toDocument, toSentence } from "./generation-report.js";
import { Interrupt } from "./interrupt.js";
import type { Output } from "./output.js";
import { readStdin } from "./read-stdin.js";

/** `generate [PROMPT|-]`: one completion, streamed. */
export function generateCommand({ output, setExitCode }: CommandContext): Command {
  const command = new Command("generate")
    .description("one completion, streamed to stdout")
    .argument("[prompt]", "the text to go on from; - reads stdin");
  return addGenerationFlags(command).action(async (argument: string | undefined, _flags: object, self: Command) => {
    const setup = await readGenerationFlags(self.optsWithGlobals<GenerationFlags>());
    const prompt = await readPrompt(argument);
    const result = await generate(prompt, setup, output);
    if (result.finishReason === "cancelled" && !output.isClosed) setExitCode(130);
  });
}

/** Writes a stream as it comes, and a line end after it. */
export async function printStream(stream: GenerationStream, output: Output): Promise<GenerationResult> {
  for await (const chunk of stream) await output.text(chunk.text);
  const result = await stream.result();
  if (!result.text.endsWith("\n")) await output.line("");
  return result;
}

async function generate(prompt: string, setup: GenerationSetup, output: Output): Promise<GenerationResult> {
  using interrupt = new Interrupt();
  const signal = AbortSignal.any([interrupt.signal, output.closed]);
  await using kitty = await Kitty.start({ config: setup.config, onLog: output.log, signal });
  await using session = await kitty.sessions.open({ ...setup.session, signal });
  const stream = session.generate(prompt, { ...setup.sampling, signal });
  const result = output.isJson ? await stream.result() : await printStream(stream, output);
  if (output.isJson) await output.json(toDocument(result));
  else output.note(toSentence(result));
  return result;
}

async function readPrompt(argument: string | undefined): Promise<string> {
  if (argument === undefined && process.stdin.isTTY) throw emptyPrompt("no prompt was given");
  const isFromStdin = argument === undefined || argument === "-";
  const prompt = isFromStdin ? await readStdin() : argument;
  if (prompt === "") throw emptyPrompt(isFromStdin ? "stdin is empty" : "the prompt is empty");
  return prompt;
}

function emptyPrompt(found: string): ConfigError {
  return new ConfigError(`Cannot generate: ${found}, give a text as argument, or - and the text on stdin`, {
    code: "empty_prompt",
  });
}
