import type { GenerationResult, GenerationStream } from "../../orchestrator/generation-stream.js";
import { Counter, Histogram, renderGauge, type Labels } from "./metric.js";

// vLLM's buckets, so that charts made for it fit.
const SECONDS = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80];
const STEP_SECONDS = [0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5];
const REQUEST_SECONDS = [0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960];
const TOKENS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000];

/** What generations cost and brought, under vLLM's names where they mean the same. */
export class GenerationMetrics {
  readonly #labels: () => Labels;
  readonly #live = new Set<GenerationStream>();
  readonly #prompt = counter("vllm:prompt_tokens_total", "Tokens of prompts that were read.");
  readonly #generated = counter("vllm:generation_tokens_total", "Tokens that were generated.");
  readonly #success = counter("vllm:request_success_total", "Generations that ended, by finished_reason.");
  readonly #failed = counter("kitty_kv_request_failure_total", "Generations that failed, by code.");
  readonly #queries = counter(
    "vllm:prefix_cache_queries_total",
    "Tokens of prompts that were looked for in the cache.",
  );
  readonly #hits = counter(
    "vllm:prefix_cache_hits_total",
    "Tokens of prompts that another prompt had left in the cache.",
  );
  readonly #preemptions = counter(
    "vllm:num_preemptions_total",
    "How often a cache was dropped for others and refilled.",
  );
  readonly #drafted = counter("vllm:spec_decode_num_draft_tokens_total", "Tokens that speculative decoding proposed.");
  readonly #accepted = counter("vllm:spec_decode_num_accepted_tokens_total", "Proposed tokens that became text.");
  readonly #cacheBytes = counter("kitty_kv_ended_cache_bytes_total", "Bytes of the KV caches of ended generations.");
  readonly #denseBytes = counter("kitty_kv_ended_cache_dense_bytes_total", "The same at 16 bits a number.");
  readonly #firstToken = histogram("vllm:time_to_first_token_seconds", "From arrival to the first token.", SECONDS);
  readonly #step = histogram("vllm:inter_token_latency_seconds", "Mean of a generation, token to token.", STEP_SECONDS);
  readonly #whole = histogram("vllm:e2e_request_latency_seconds", "From arrival to the end.", REQUEST_SECONDS);
  readonly #queue = histogram("vllm:request_queue_time_seconds", "From arrival to its turn.", REQUEST_SECONDS);
  readonly #promptSize = histogram("vllm:request_prompt_tokens", "Tokens of a prompt.", TOKENS);
  readonly #textSize = histogram("vllm:request_generation_tokens", "Tokens of a text.", TOKENS);

  /** @param labels what every sample carries */
  constructor(labels: () => Labels) {
    this.#labels = labels;
  }

  /** Counts a generation now as running, and by its result once it has ended. */
  follow(stream: GenerationStream): void {
    const begun = performance.now();
    this.#live.add(stream);
    void stream.ended().then(async () => {
      this.#live.delete(stream);
      try {
        this.#count(await stream.result(), (performance.now() - begun) / 1000);
      } catch (error) {
        const code = error instanceof Error && "code" in error ? String(error.code) : "internal";
        this.#failed.add(1, { ...this.#labels(), code });
      }
    });
  }

  render(): string {
    const running = [...this.#live].filter(({ hasTokens }) => hasTokens).length;
    const labels = this.#labels();
    const [runningName, waitingName] = [
      { name: "vllm:num_requests_running", help: "Generations that have written their first token and not ended." },
      { name: "vllm:num_requests_waiting", help: "Generations in the queue or reading their prompt." },
    ];
    const metrics = [
      ...[this.#prompt, this.#generated, this.#success, this.#failed, this.#queries, this.#hits, this.#preemptions],
      ...[this.#drafted, this.#accepted, this.#cacheBytes, this.#denseBytes],
      ...[this.#firstToken, this.#step, this.#whole, this.#queue, this.#promptSize, this.#textSize],
    ];
    return [
      renderGauge(runningName, [{ value: running, labels }]),
      renderGauge(waitingName, [{ value: this.#live.size - running, labels }]),
      ...metrics.map((metric) => metric.render()),
    ].join("");
  }

  #count({ usage, finishReason, metrics, kvCache, timeToFirstTokenMs }: GenerationResult, seconds: number): void {
    const labels = this.#labels();
    this.#success.add(1, { ...labels, finished_reason: finishReason === "cancelled" ? "abort" : finishReason });
    const amounts: [Counter, number][] = [
      [this.#prompt, usage.promptTokens],
      [this.#generated, usage.completionTokens],
      [this.#queries, usage.promptTokens],
      [this.#hits, metrics.reusedTokens],
      [this.#preemptions, metrics.preemptions],
      [this.#drafted, metrics.draftedTokens],
      [this.#accepted, metrics.acceptedTokens],
      [this.#cacheBytes, metrics.kvBytes],
      [this.#denseBytes, kvCache.denseBytes],
    ];
    for (const [metric, amount] of amounts) metric.add(amount, labels);
    const values: [Histogram, number | null][] = [
      [this.#firstToken, toSeconds(timeToFirstTokenMs)],
      [this.#step, toSeconds(metrics.interTokenLatencyMs)],
      [this.#queue, toSeconds(metrics.queueTimeMs)],
      [this.#whole, seconds],
      [this.#promptSize, usage.promptTokens],
      [this.#textSize, usage.completionTokens],
    ];
    for (const [metric, value] of values) if (value !== null) metric.observe(value, labels);
  }
}

function counter(name: string, help: string): Counter {
  return new Counter({ name, help });
}

function histogram(name: string, help: string, bounds: readonly number[]): Histogram {
  return new Histogram({ name, help }, bounds);
}

function toSeconds(milliseconds: number | null): number | null {
  return milliseconds === null ? null : milliseconds / 1000;
}
