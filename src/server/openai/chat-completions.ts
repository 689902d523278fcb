import { endpoint, type Context } from "../endpoint.js";
import { chatChunkSchema, chatCompletionSchema, type ChatChunk, type ChatCompletion } from "../wire/openai-answers.js";
import { chatRequestSchema, type ChatRequest } from "../wire/openai-requests.js";
import { answerWithEvents, finishReasonOf, newHead, usageOf, type Head } from "./answer-parts.js";
import { toChatLogprobs } from "./name-tokens.js";
import { readChat, withSeed } from "./read-request.js";
import { runChoices, type Plan } from "./run-choices.js";

type ChunkChoice = ChatChunk["choices"][number];

export const createChatCompletion = endpoint({
  method: "post",
  path: "/v1/chat/completions",
  tag: "openai",
  summary: "Create a chat completion",
  description: "As OpenAI's. A model without a chat template goes on from the contents of the messages, one a line.",
  body: chatRequestSchema,
  answers: [
    { description: "The completion", schema: chatCompletionSchema },
    { description: "Chunks of it, with `stream`", contentType: "text/event-stream", schema: chatChunkSchema },
  ],
  handle: async (context) => {
    const { body, services, signal } = context;
    const model = services.model.check(body.model);
    const { input, sampling } = readChat(body, model);
    const count = body.n ?? 1;
    const plans = Array.from({ length: count }, (_, index) => ({ index, input, options: withSeed(sampling, index) }));
    const head = newHead("chatcmpl", body.model, services);
    if (body.stream === true) {
      await streamChat(context, plans, head);
      return undefined;
    }
    const choices = await runChoices(plans, { services, cache: body.cache, signal });
    return {
      ...head,
      object: "chat.completion",
      choices: choices.map((choice) => ({
        index: choice.index,
        message: { role: "assistant", content: choice.result.text, refusal: null },
        logprobs: toChatLogprobs(choice.logprobs),
        finish_reason: finishReasonOf(choice),
      })),
      usage: usageOf(choices, count),
    } satisfies ChatCompletion;
  },
});

function streamChat(context: Context<ChatRequest>, plans: readonly Plan[], head: Head): Promise<void> {
  const { body, services, signal } = context;
  const hasUsage = body.stream_options?.include_usage === true;
  return answerWithEvents(context, async (send) => {
    const begun = new Set<number>();
    const chunk = (choice: ChunkChoice) =>
      send({ ...head, object: "chat.completion.chunk", choices: [choice], ...(hasUsage ? { usage: null } : {}) });
    const begin = async (index: number): Promise<void> => {
      if (begun.has(index)) return;
      begun.add(index);
      await chunk({ index, delta: { role: "assistant", content: "" }, logprobs: null, finish_reason: null });
    };
    const choices = await runChoices(plans, {
      ...{ services, cache: body.cache, signal },
      onText: async (index, content, logprobs) => {
        await begin(index);
        await chunk({ index, delta: { content }, logprobs: toChatLogprobs(logprobs), finish_reason: null });
      },
      onEnd: async (choice) => {
        const { index } = choice;
        await begin(index);
        // What has no text of its own, such as the token that ended it.
        const logprobs = choice.untold?.length === 0 ? null : toChatLogprobs(choice.untold);
        await chunk({ index, delta: {}, logprobs, finish_reason: finishReasonOf(choice) });
      },
    });
    const usage = usageOf(choices, plans.length);
    if (hasUsage) await send({ ...head, object: "chat.completion.chunk", choices: [], usage } satisfies ChatChunk);
  });
}
