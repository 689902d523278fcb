import type { GenerationEvent } from "../../server/wire/sessions.js";
import { ApiError, ask } from "./client.js";

/**
 * Text as a session writes it, then the result; leaving the loop or the signal cancels the generation.
 * @throws ApiError
 */
export async function* streamGeneration(
  session: string,
  body: Readonly<Record<string, unknown>>,
  signal: AbortSignal,
): AsyncGenerator<Exclude<GenerationEvent, { error: unknown }>> {
  const path = `/api/sessions/${encodeURIComponent(session)}/generate`;
  const response = await ask(path, { body: { ...body, stream: true }, signal });
  for await (const line of readLines(response)) {
    if (!line.startsWith("data: ")) continue;
    const event = JSON.parse(line.slice(6)) as GenerationEvent;
    if ("error" in event) throw new ApiError(200, event.error.code, event.error.message, event.error.details);
    yield event;
  }
}

async function* readLines(response: Response): AsyncGenerator<string> {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  if (reader === undefined) return;
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop() ?? "";
      yield* lines;
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
