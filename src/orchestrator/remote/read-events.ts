import type { Readable } from "node:stream";

/** The data of server-sent events, one text each. */
export async function* readEvents(body: Readable): AsyncGenerator<string, void> {
  const decoder = new TextDecoder();
  let pending = "";
  for await (const bytes of body) {
    const events = (pending + decoder.decode(bytes as Buffer, { stream: true })).split("\n\n");
    pending = events.pop() ?? "";
    for (const event of events) if (event.startsWith("data: ")) yield event.slice("data: ".length);
  }
}
