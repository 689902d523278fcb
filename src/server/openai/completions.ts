import { endpoint, type Context } from "../endpoint.js";
import { completionSchema, type Completion } from "../wire/openai-answers.js";
import { completionRequestSchema, type CompletionRequest } from "../wire/openai-requests.js";
import { answerWithEvents, finishReasonOf, newHead, usageOf, type Head } from "./answer-parts.js";
import { toCompletionLogprobs, type NamedLogprob } from "./name-tokens.js";
import { readCompletion, withSeed } from "./read-request.js";
import { runChoices, type FinishedChoice, type Plan } from "./run-choices.js";

type Choice = Completion["choices"][number];
/** A choice's prompt, where the text begins with it. */
type Echo = (index: number) => string;

export const createCompletion = endpoint({
  method: "post",
  path: "/v1/completions",
  tag: "openai",
  summary: "Create a completion",
  description: "As OpenAI's.",
  body: completionRequestSchema,
  answers: [
    { description: "The completion", schema: completionSchema },
    { description: "Chunks of it, with `stream`", contentType: "text/event-stream", schema: completionSchema },
  ],
  handle: async (context) => {
    const { body, services, signal } = context;
    services.model.check(body.model);
    const { inputs, sampling } = readCompletion(body);
    const count = body.n ?? 1;
    const plans = inputs.flatMap((input, prompt) =>
      Array.from({ length: count }, (_, choice) => ({
        ...{ index: prompt * count + choice, input, options: withSeed(sampling, choice) },
      })),
    );
    const head = newHead("cmpl", body.model, services);
    const echo: Echo = (index) => (body.echo === true ? (inputs[Math.floor(index / count)] ?? "") : "");
    if (body.stream === true) {
      await streamCompletion(context, plans, head, echo);
      return undefined;
    }
    const choices = await runChoices(plans, { services, cache: body.cache, signal });
    return {
      ...head,
      object: "text_completion",
      choices: choices.map((choice) => ({ ...endOf(choice), text: echo(choice.index) + choice.result.text })),
      usage: usageOf(choices, count),
    } satisfies Completion;
  },
});

function streamCompletion(
  context: Context<CompletionRequest>,
  plans: readonly Plan[],
  head: Head,
  echo: Echo,
): Promise<void> {
  const { body, services, signal } = context;
  const hasUsage = body.stream_options?.include_usage === true;
  return answerWithEvents(context, async (send) => {
    /** How much of each text's tokens has been told. */
    const offsets = new Map<number, number>();
    const logprobsOf = (index: number, named: readonly NamedLogprob[] | null): Choice["logprobs"] => {
      const offset = offsets.get(index) ?? 0;
      offsets.set(index, offset + (named ?? []).reduce((sum, { text }) => sum + text.length, 0));
      return named?.length === 0 ? null : toCompletionLogprobs(named, offset);
    };
    const chunk = (choice: Choice) =>
      send({ ...head, object: "text_completion", choices: [choice], ...(hasUsage ? { usage: null } : {}) });
    const choices = await runChoices(plans, {
      ...{ services, cache: body.cache, signal },
      onText: async (index, text, named) => {
        const before = offsets.has(index) ? "" : echo(index);
        await chunk({ index, text: before + text, logprobs: logprobsOf(index, named), finish_reason: null });
      },
      onEnd: async (choice) => {
        const { index, untold } = choice;
        const text = offsets.has(index) ? "" : echo(index);
        await chunk({ index, text, logprobs: logprobsOf(index, untold), finish_reason: finishReasonOf(choice) });
      },
    });
    const usage = usageOf(choices, body.n ?? 1);
    if (hasUsage) await send({ ...head, object: "text_completion", choices: [], usage } satisfies Completion);
  });
}

function endOf(choice: FinishedChoice): Omit<Choice, "text"> {
  return {
    index: choice.index,
    logprobs: toCompletionLogprobs(choice.logprobs, 0),
    finish_reason: finishReasonOf(choice),
  };
}
