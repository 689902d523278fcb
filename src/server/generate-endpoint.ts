import { randomUUID } from "node:crypto";
import { ConfigError, KittyError } from "../errors.js";
import type { GenerateOptions } from "../orchestrator/generate-input.js";
import type { GenerationStream } from "../orchestrator/generation-stream.js";
import { generateBodySchema, generationEventSchema, generationResultSchema } from "../orchestrator/session-schemas.js";
import { endpoint, type Context } from "./endpoint.js";
import { toKittyError } from "./error-status.js";
import { EventStream } from "./event-stream.js";
import type { GenerateInput } from "./generations.js";
import type { ServedSession } from "./served-sessions.js";
import { idOf } from "./session-endpoints.js";

type Body = (typeof generateBodySchema)["_output"];

export const generateInSession = endpoint({
  method: "post",
  path: "/api/sessions/{id}/generate",
  tag: "sessions",
  summary: "Generate in a session",
  description: "Goes on from a prompt or from messages. A client that closes its connection cancels the generation.",
  body: generateBodySchema,
  answers: [
    { description: "The whole text", schema: generationResultSchema },
    {
      description: "With `stream`: text, then the result",
      contentType: "text/event-stream",
      schema: generationEventSchema,
    },
  ],
  handle: (context) => {
    const { services } = context;
    return services.sessions.use(idOf(context), (served) =>
      services.generations.reserve(1, () => generate(context, served)),
    );
  },
});

async function generate(context: Context<Body>, served: ServedSession): Promise<unknown> {
  const { services, signal } = context;
  const { prompt, messages, stream: isStreamed, generation = randomUUID(), ...options } = context.body;
  const input = readInput(prompt, messages);
  if (served.streams.has(generation)) throw nameInUse(generation);
  // Which fields of speculation belong together is for the session to say.
  const stream = services.generations.start(served.session, input, { ...options, signal } as GenerateOptions);
  served.streams.set(generation, stream);
  try {
    if (served.cancelledEarly.delete(generation)) await stream.cancel();
    if (!isStreamed) return await stream.result();
    await sendEvents(context, stream);
    return undefined;
  } finally {
    served.streams.delete(generation);
  }
}

async function sendEvents({ response, signal }: Context, stream: GenerationStream): Promise<void> {
  const events = new EventStream(response, signal);
  try {
    for await (const chunk of stream) await events.send(JSON.stringify(chunk));
    await events.send(JSON.stringify({ result: await stream.result() }));
  } catch (error) {
    if (!events.isStarted) throw error;
    await events.send(JSON.stringify({ error: toKittyError(error) }));
  }
  events.end();
}

function readInput(prompt: string | undefined, messages: Body["messages"]): GenerateInput {
  const input = prompt ?? messages;
  if (input !== undefined && (prompt === undefined || messages === undefined)) return input;
  const found = input === undefined ? "neither" : "both";
  throw new ConfigError(`Cannot generate in a session: want either prompt or messages, got ${found}`, {
    details: { path: "prompt" },
  });
}

function nameInUse(generation: string): KittyError {
  return new KittyError(
    `Cannot generate as ${JSON.stringify(generation)}: one of that name is running, choose another`,
    {
      code: "generation_in_use",
      details: { generation },
    },
  );
}
