import { createHash } from "node:crypto";
import { isUtf8 } from "node:buffer";
import { readFile } from "node:fs/promises";
import { z } from "zod";
import type { ChatMessage } from "../../bridge/messages.js";
import { KittyError } from "../../errors.js";
import type { GenerateParams } from "../../job/job-params.js";

const DEFAULT_PROMPT = "Once upon a time";

const messagesSchema = z.array(z.object({ role: z.enum(["system", "user", "assistant"]), content: z.string() })).min(1);
const id = z.union([z.string(), z.number()]).optional();
const lineSchema = z.union([
  z.string().min(1),
  z.object({ id, prompt: z.string().min(1) }),
  z.object({ id, messages: messagesSchema }),
]);

export interface Prompt {
  id: string | number | null;
  input: string | ChatMessage[];
}

export interface Prompts {
  prompts: Prompt[];
  /** Of all of them, so that a later attempt can tell whether they are the same. */
  sha256: string;
}

/**
 * The prompts of a job, from its file or its spec.
 * @throws KittyError `prompts_file` that names the file and the line
 */
export async function readPrompts({ promptsFile, prompts }: GenerateParams): Promise<Prompts> {
  if (promptsFile !== undefined && prompts !== undefined) {
    throw promptsError("read the prompts", "the spec has promptsFile and prompts, give one of them", {});
  }
  if (promptsFile === undefined) return withHash((prompts ?? [DEFAULT_PROMPT]).map((input) => ({ id: null, input })));
  const attempt = `read the prompts in ${JSON.stringify(promptsFile)}`;
  const bytes = await readFile(promptsFile).catch((cause: unknown) => {
    throw promptsError(
      attempt,
      `${(cause as Error).message.split(",")[0] ?? ""}, check the path`,
      { promptsFile },
      cause,
    );
  });
  if (!isUtf8(bytes)) throw promptsError(attempt, "it is not UTF-8 text, save it as UTF-8", { promptsFile });
  const lines = bytes.toString("utf8").split(/\r?\n/);
  const read = lines.flatMap((line, index) => (line.trim() === "" ? [] : [readLine(line, index + 1, attempt)]));
  if (read.length === 0) throw promptsError(attempt, "it has no lines, write one prompt a line", { promptsFile });
  return withHash(read);
}

function withHash(prompts: Prompt[]): Prompts {
  return { prompts, sha256: createHash("sha256").update(JSON.stringify(prompts)).digest("hex") };
}

function readLine(text: string, line: number, attempt: string): Prompt {
  const { data, error } = lineSchema.safeParse(parseJson(text));
  if (data === undefined) {
    const wanted = 'a JSON text, or an object with "prompt" or "messages" and perhaps "id"';
    throw promptsError(attempt, `line ${String(line)} must be ${wanted}, got ${text.slice(0, 80)}`, { line }, error);
  }
  if (typeof data === "string") return { id: null, input: data };
  return { id: data.id ?? null, input: "prompt" in data ? data.prompt : data.messages };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Which the schema then refuses, with the line's number.
    return undefined;
  }
}

function promptsError(attempt: string, found: string, details: Record<string, unknown>, cause?: unknown): KittyError {
  return new KittyError(`Cannot ${attempt}: ${found}`, { code: "prompts_file", details, cause });
}
