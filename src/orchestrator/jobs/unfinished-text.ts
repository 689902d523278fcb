import { existsSync, readFileSync, rmSync } from "node:fs";
import { z } from "zod";
import { KittyError } from "../../errors.js";
import type { GenerationResult } from "../generation-stream.js";
import type { Session } from "../session.js";
import { writing, type JobFolder } from "./job-folder.js";

const schema = z.object({
  text: z.string(),
  promptTokens: z.number().int().nonnegative(),
  completionTokens: z.number().int().positive(),
});

/** What a text came to before its writer had to stop. */
export type Beginning = z.output<typeof schema> & {
  /** The file of its session. */
  saved: string;
};

/** A prompt's half-written text and its cache, in the job's folder until the job has succeeded. */
export class UnfinishedText {
  readonly #folder: JobFolder;
  readonly #note: string;
  readonly #saved: string;

  constructor(folder: JobFolder, index: number) {
    this.#folder = folder;
    // Names with .partial go when the job has succeeded.
    this.#note = `unfinished-${String(index)}.partial.json`;
    this.#saved = `unfinished-${String(index)}.partial.kitty`;
  }

  /** @returns undefined where there is none */
  read(): Beginning | undefined {
    const [note, saved] = [this.#folder.file(this.#note), this.#folder.file(this.#saved)];
    if (!existsSync(note) || !existsSync(saved)) return undefined;
    return { ...schema.parse(JSON.parse(readFileSync(note, "utf8"))), saved };
  }

  /** Saves the session; where it cannot be, the text is written anew. */
  async keep(session: Session, { text, finishReason, usage }: GenerationResult): Promise<void> {
    if (finishReason !== "cancelled" || usage.completionTokens === 0) return;
    // The note last: without it there is nothing to go on from.
    const note = this.#folder.file(this.#note);
    try {
      writing("remove", note, () => {
        rmSync(note, { force: true });
      });
      await session.save(this.#folder.file(this.#saved));
      this.#folder.write(this.#note, [JSON.stringify({ text, ...usage })]);
    } catch (error) {
      if (!(error instanceof KittyError)) throw error;
    }
  }
}

/** The text from its beginning on. */
export function joined(before: Beginning | undefined, result: GenerationResult): GenerationResult {
  if (before === undefined) return result;
  const { text, promptTokens, completionTokens } = before;
  const usage = { promptTokens, completionTokens: completionTokens + result.usage.completionTokens };
  return { ...result, text: text + result.text, usage };
}
