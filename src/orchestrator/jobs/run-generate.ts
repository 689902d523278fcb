import { throwIfAborted } from "../../bridge/abortable.js";
import { CancelledError, KittyError, NotFoundError, TimeoutError, WorkerExitedError } from "../../errors.js";
import type { GenerateParams } from "../../job/job-params.js";
import { mapAtMost } from "../../util/map-at-most.js";
import type { GenerateOptions } from "../generate-input.js";
import type { SessionService } from "../sessions.js";
import type { AttemptContext, JobExecutor, Outcome } from "./executor.js";
import { PartialResults, type PromptResult } from "./partial-results.js";
import { readPrompts, type Prompt } from "./read-prompts.js";
import { joined, UnfinishedText } from "./unfinished-text.js";

const RESULTS_FILE = "results.jsonl";

/** `generate`: a batch of prompts; each gets a session of its own, so that no text depends on another. */
export function generateExecutor(sessions: SessionService): JobExecutor {
  return async (context) => {
    const { spec } = context.job;
    const params = spec.params as GenerateParams;
    const { prompts, sha256 } = await readPrompts(params);
    const partial = new PartialResults(context.folder, sha256);
    try {
      const missing = prompts.flatMap((prompt, index) => (partial.results.has(index) ? [] : [{ prompt, index }]));
      context.log(`${String(prompts.length)} prompts, ${String(prompts.length - missing.length)} of them done before`);
      if (missing.length === 0) context.begin();
      await mapAtMost(missing, params.concurrency, async (one) => {
        const { prompt, index } = one;
        partial.add({ index, id: prompt.id, ...(await generateOne(one, params, sessions, context)) });
        context.progress(partial.results.size, prompts.length);
      });
      return finish(partial, prompts.length, context);
    } finally {
      partial.close();
    }
  };
}

async function generateOne(
  { prompt: { input }, index }: { prompt: Prompt; index: number },
  params: GenerateParams,
  sessions: SessionService,
  context: AttemptContext,
): Promise<Omit<PromptResult, "index">> {
  const { job, signal, begin, folder } = context;
  throwIfAborted(signal, "generate");
  const unfinished = canResume(params) ? new UnfinishedText(folder, index) : undefined;
  const before = unfinished?.read();
  if (before !== undefined)
    context.log(
      `prompt ${String(index)} goes on after ${String(before.completionTokens)} tokens, from its saved cache`,
    );
  const model = job.spec.model === undefined ? {} : { model: job.spec.model };
  const cache = before === undefined ? { cache: job.spec.cache } : { saved: before.saved };
  await using session = await sessions.open({ ...model, ...cache, signal });
  begin();
  try {
    const { completionTokens = 0 } = before ?? {};
    const options = { ...samplingOf(params), maxNewTokens: params.maxNewTokens - completionTokens, signal };
    const stream = before === undefined ? session.generate(input, options) : session.resume(options);
    const result = joined(before, await stream.result());
    if (signal.aborted && context.isInterrupted?.() === true) await unfinished?.keep(session, result);
    throwIfAborted(signal, "generate");
    const { text, finishReason, usage } = result;
    return { text, finishReason, ...usage };
  } catch (error) {
    // A prompt that no model takes is a result like any other; what is wrong with the worker ends the attempt.
    if (!(error instanceof KittyError) || endsAttempt(error)) throw error;
    return { error: { code: error.code, message: error.message } };
  }
}

/** The same text comes of it in pieces as at once: nothing is drawn, and nothing looks back over the place of the cut. */
function canResume({ temperature = 0, repetitionPenalty, stop = [] }: GenerateParams): boolean {
  return temperature === 0 && repetitionPenalty === undefined && stop.length === 0;
}

function endsAttempt(error: KittyError): boolean {
  const isOfWorker = [WorkerExitedError, CancelledError, TimeoutError, NotFoundError].some(
    (kind) => error instanceof kind,
  );
  return isOfWorker || ["queue_full", "closed", "internal", "unsupported"].includes(error.code);
}

function samplingOf(params: GenerateParams): Omit<GenerateOptions, "signal"> {
  const { maxNewTokens, temperature, topK, topP, minP, repetitionPenalty, seed, stop } = params;
  return { maxNewTokens, temperature, topK, topP, minP, repetitionPenalty, seed, stop };
}

function finish(partial: PartialResults, total: number, { folder }: AttemptContext): Outcome {
  const results = [...partial.results.values()].sort((a, b) => a.index - b.index);
  folder.write(RESULTS_FILE, lines(results));
  const failed = results.filter((result) => result["error"] !== undefined);
  const sum = (field: string): number => results.reduce((tokens, result) => tokens + Number(result[field] ?? 0), 0);
  const [first] = failed;
  if (first !== undefined && failed.length === total) {
    const { code, message } = first["error"] as { code: string; message: string };
    throw new KittyError(`Cannot generate any of ${String(total)} texts: ${message}`, { code, details: { total } });
  }
  const figures = {
    prompts: total,
    succeeded: total - failed.length,
    failed: failed.length,
    promptTokens: sum("promptTokens"),
    completionTokens: sum("completionTokens"),
  };
  return { figures, files: [RESULTS_FILE] };
}

function* lines(results: readonly PromptResult[]): Iterable<string> {
  for (const result of results) yield `${JSON.stringify(result)}\n`;
}
