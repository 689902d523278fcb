import { execFile } from "node:child_process";
import { promisify } from "node:util";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { whyNoRealWorker } from "../real-worker.js";
import { startTestServer, type TestServer } from "./test-server.js";

const run = promisify(execFile);
const reason = whyNoRealWorker();
const PROMPT = "It was a bright cold day, and the old man went down to the";

describe.skipIf(reason !== undefined)("the OpenAI-compatible API, asked by OpenAI's own client", () => {
  let running: TestServer;
  let client: OpenAI;
  let model: string;
  let greedy: string;

  beforeAll(async () => {
    running = await startTestServer({ config: { server: { maxGenerations: 8 } } });
    const { url, token } = running.server;
    client = new OpenAI({ baseURL: `${url}/v1`, apiKey: token, maxRetries: 0 });
    ({ id: model = "" } = (await client.models.list()).data[0] ?? {});
    // The reference: the same prompt through the SDK.
    await using session = await running.kitty.sessions.open();
    greedy = (await session.generate(PROMPT, { maxNewTokens: 12 }).result()).text;
  });
  afterAll(() => running[Symbol.asyncDispose]());

  test("a completion is the SDK's text, with its usage", async () => {
    const { choices, usage, object } = await client.completions.create({
      ...{ model, prompt: PROMPT, max_tokens: 12, temperature: 0 },
    });
    expect(object).toBe("text_completion");
    expect(choices).toMatchObject([{ index: 0, text: greedy, finish_reason: "length", logprobs: null }]);
    expect(usage).toMatchObject({ completion_tokens: 12, total_tokens: 12 + Number(usage?.prompt_tokens) });
  });

  test("a streamed completion adds up to the same text, and include_usage ends it with the usage", async () => {
    const stream = await client.completions.create({
      ...{ model, prompt: PROMPT, max_tokens: 12, temperature: 0, stream: true },
      stream_options: { include_usage: true },
    });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    expect(chunks.map(({ choices }) => choices[0]?.text ?? "").join("")).toBe(greedy);
    expect(chunks.at(-2)?.choices[0]?.finish_reason).toBe("length");
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 12 } });
  });

  test("a chat completion goes on from the lines of its messages where the model has no chat template", async () => {
    const messages = [
      { role: "system" as const, content: "It was a bright cold day," },
      { role: "user" as const, content: [{ type: "text" as const, text: "and the old man" }] },
    ];
    const options = { model, messages, max_completion_tokens: 8, temperature: 0 };
    const { choices, usage } = await client.chat.completions.create(options);
    await using session = await running.kitty.sessions.open();
    const text = "It was a bright cold day,\nand the old man";
    const expected = await session.generate(text, { maxNewTokens: 8 }).result();
    expect(choices[0]).toMatchObject({
      message: { role: "assistant", content: expected.text },
      finish_reason: "length",
    });
    expect(usage?.prompt_tokens).toBe(expected.usage.promptTokens);
    const streamed = client.chat.completions.stream({ ...options, stream_options: { include_usage: true } });
    expect(await streamed.finalContent()).toBe(expected.text);
    expect(await streamed.totalUsage()).toMatchObject({ completion_tokens: 8 });
  });

  test("n choices are sampled with seeds of their own, the same ones again for the same seed", async () => {
    const ask = async (seed: number): Promise<string[]> => {
      const options = { model, prompt: PROMPT, max_tokens: 10, n: 3, seed, temperature: 1 };
      const { choices, usage } = await client.completions.create(options);
      expect(choices.map(({ index }) => index)).toEqual([0, 1, 2]);
      expect(usage?.completion_tokens).toBeLessThanOrEqual(30);
      return choices.map(({ text }) => text);
    };
    const first = await ask(7);
    expect(new Set(first).size).toBe(3);
    expect(await ask(7)).toEqual(first);
    expect((await ask(8)).slice(0, 2)).toEqual(first.slice(1));
  });

  test("several prompts in one request have choices in their order", async () => {
    const { choices } = await client.completions.create({
      ...{ model, prompt: [PROMPT, "Once upon"], max_tokens: 12, temperature: 0, echo: true },
    });
    expect(choices.map(({ index }) => index)).toEqual([0, 1]);
    expect(choices[0]?.text).toBe(PROMPT + greedy);
    expect(choices[1]?.text).toMatch(/^Once upon/);
  });

  test("stop ends the text before it, with finish_reason stop", async () => {
    const stop = greedy.trim().split(" ")[2] ?? "";
    const { choices } = await client.completions.create({
      ...{ model, prompt: PROMPT, max_tokens: 12, temperature: 0, stop: [stop, "\u2603"] },
    });
    expect(choices[0]).toMatchObject({ finish_reason: "stop", text: greedy.slice(0, greedy.indexOf(stop)) });
  });

  test("logprobs name tokens whose texts add up, streamed or not", async () => {
    const options = { model, max_completion_tokens: 6, temperature: 0, logprobs: true, top_logprobs: 2 };
    const messages = [{ role: "user" as const, content: PROMPT }];
    const { choices } = await client.chat.completions.create({ ...options, messages });
    const content = choices[0]?.logprobs?.content ?? [];
    expect(content.map(({ token }) => token).join("")).toBe(choices[0]?.message.content);
    for (const { token, logprob, bytes, top_logprobs: top } of content) {
      expect(top).toHaveLength(2);
      // Greedy: the chosen one is the most probable one.
      expect(top[0]).toEqual({ token, logprob, bytes });
      expect(Buffer.from(bytes ?? []).toString()).toBe(token);
    }
    const streamed = await client.chat.completions.stream({ ...options, messages }).finalChatCompletion();
    expect(streamed.choices[0]?.logprobs?.content).toEqual(content);
    const body = { model, prompt: PROMPT, max_tokens: 6, temperature: 0, logprobs: 0 };
    const { choices: plain } = await client.completions.create(body);
    expect(plain[0]?.logprobs?.token_logprobs).toEqual(content.map(({ logprob }) => logprob));
    expect(plain[0]?.logprobs?.text_offset?.slice(0, 2)).toEqual([0, plain[0]?.logprobs?.tokens?.[0]?.length]);
    // Streamed, each text comes with those of its own tokens.
    const seen = { tokens: [] as string[], offsets: [] as number[] };
    for await (const { choices: parts } of await client.completions.create({ ...body, stream: true })) {
      for (const { text, logprobs, finish_reason: end } of parts) {
        if ((end as string | null) === null) expect(logprobs?.tokens?.join("")).toBe(text);
        seen.tokens.push(...(logprobs?.tokens ?? []));
        seen.offsets.push(...(logprobs?.text_offset ?? []));
      }
    }
    expect(seen).toEqual({ tokens: plain[0]?.logprobs?.tokens, offsets: plain[0]?.logprobs?.text_offset });
  });

  test("a request chooses its KV cache", async () => {
    const body = { model, prompt: PROMPT, max_tokens: 4, temperature: 0, cache: { preset: "fp16" } };
    expect((await running.ask("/v1/completions", { body })).status).toBe(200);
    const wrong = await running.ask("/v1/completions", { body: { ...body, cache: { preset: "fp61" } } });
    expect(await wrong.json()).toMatchObject({ error: { code: "unknown_preset", param: "cache.preset" } });
  });

  test("a reader that leaves ends its generation, and its place is free again", async () => {
    const stream = await client.completions.create({ model, prompt: PROMPT, max_tokens: 4000, stream: true });
    for await (const chunk of stream) if (chunk.choices[0]?.text !== "") break;
    await vi.waitFor(async () => {
      const text = await (await running.ask("/metrics")).text();
      expect(text).toMatch(/request_success_total\{[^}]*finished_reason="abort"\} 1\n/);
      expect(text).toMatch(/num_requests_running\{[^}]*\} 0\n/);
    }, 10_000);
  });

  test("errors have the status and the body that clients expect", async () => {
    const prompt = PROMPT;
    const cases: [object, number, string][] = [
      [{ model: "gpt-9", prompt }, 404, "model_not_found"],
      [{ model, prompt: "" }, 400, "invalid_argument"],
      [{ model, prompt, temperature: 3 }, 400, "invalid_argument"],
      [{ model, prompt, max_tokens: 0 }, 400, "invalid_argument"],
      [{ model, prompt, presence_penalty: 1 }, 400, "unsupported"],
      [{ model, prompt: "word ".repeat(6000) }, 400, "context_exceeded"],
      [{ model, prompt: "half \ud800" }, 400, "invalid_argument"],
      [{ model, prompt, n: 9 }, 429, "queue_full"],
      [{ model, prompt, n: 9, stream: true }, 429, "queue_full"],
    ];
    for (const [body, status, code] of cases) {
      const error = await client.completions.create(body as never).catch((cause: unknown) => cause);
      expect(error).toBeInstanceOf(OpenAI.APIError);
      expect(error).toMatchObject({ status, code });
    }
    const full = await running.ask("/v1/completions", { body: { model, prompt, n: 9 } });
    expect(full.headers.get("retry-after")).toBe("1");
    const wrong = new OpenAI({ baseURL: client.baseURL, apiKey: "wrong", maxRetries: 0 });
    await expect(wrong.models.list()).rejects.toBeInstanceOf(OpenAI.AuthenticationError);
    await expect(client.models.retrieve("nothing")).rejects.toBeInstanceOf(OpenAI.NotFoundError);
  });

  test("a misspelt key is refused with the nearest known one", async () => {
    const response = await running.ask("/v1/chat/completions", { body: { model, mesages: [] } });
    expect(response.status).toBe(400);
    const { error } = (await response.json()) as { error: { message: string; type: string } };
    expect(error.message).toContain('did you mean "messages"?');
    expect(error.type).toBe("invalid_request_error");
  });

  test("curl streams events that end with [DONE]", async () => {
    const body = JSON.stringify({ model, messages: [{ role: "user", content: PROMPT }], max_tokens: 4, stream: true });
    const { stdout } = await run("curl", [
      ...["-sN", `${running.server.url}/v1/chat/completions`],
      ...["-H", `Authorization: Bearer ${running.server.token}`, "-d", body],
    ]);
    const events = stdout.trim().split("\n\n");
    expect(events.at(-1)).toBe("data: [DONE]");
    const parsed = events.slice(0, -1).map((event) => JSON.parse(event.replace(/^data: /, "")) as { object: string });
    expect(new Set(parsed.map(({ object }) => object))).toEqual(new Set(["chat.completion.chunk"]));
  });

  test("metrics count what a request cost, in Prometheus's format, and the KV memory that a session saves", async () => {
    const read = async (): Promise<Map<string, number>> => {
      const text = await (await running.ask("/metrics")).text();
      const samples = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
      const format = /^([a-z_:][a-z0-9_:]*(?:\{(?:[a-z_]+="[^"]*",?)+\})?) (-?[0-9.e+-]+)$/;
      return new Map(
        samples.map((line) => {
          const [, name, value] = format.exec(line) ?? [];
          expect(name, line).toBeDefined();
          return [name ?? "", Number(value)];
        }),
      );
    };
    const label = `{model_name="${model}"}`;
    const before = await read();
    const { usage } = await client.completions.create({ model, prompt: PROMPT, max_tokens: 5, temperature: 0 });
    const long = "The whale rose slowly from the sea, and the men in the boats were silent. ".repeat(40);
    const opened = await running.ask("/api/sessions", { body: { cache: { preset: "kitty" } } });
    const { id } = (await opened.json()) as { id: string };
    const generated = await running.ask(`/api/sessions/${id}/generate`, { body: { prompt: long, maxNewTokens: 1 } });
    const { kvCache, usage: own } = (await generated.json()) as {
      kvCache: { packedBytes: number; fullPrecisionBytes: number; denseBytes: number };
      usage: { promptTokens: number };
    };
    const after = await read();
    const grown = (name: string): number => (after.get(name + label) ?? 0) - (before.get(name + label) ?? 0);
    expect(grown("vllm:prompt_tokens_total")).toBe(Number(usage?.prompt_tokens) + own.promptTokens);
    expect(grown("vllm:generation_tokens_total")).toBe(6);
    expect(grown("vllm:time_to_first_token_seconds_count")).toBe(2);
    expect(kvCache.packedBytes).toBeGreaterThan(0);
    const saved = kvCache.denseBytes - kvCache.packedBytes - kvCache.fullPrecisionBytes;
    expect(after.get(`kitty_kv_cache_saved_bytes${label}`)).toBe(saved);
    const pool = (kind: string): number =>
      after.get(`kitty_kv_pool_bytes{model_name="${model}",kind="${kind}"}`) ?? NaN;
    expect(pool("in_use")).toBeGreaterThanOrEqual(kvCache.packedBytes + kvCache.fullPrecisionBytes);
    expect(pool("allocated")).toBeGreaterThanOrEqual(pool("in_use"));
    expect(after.get(`kitty_kv_engine_tokens_per_second${label}`)).toBeGreaterThan(0);
    expect((await running.ask(`/api/sessions/${id}`, { method: "DELETE" })).status).toBe(204);
  });

  test("nothing of all this was a defect", () => {
    expect(running.defects).toEqual([]);
  });
});

describe.skipIf(reason !== undefined)("while the model is loading", () => {
  test("generations are refused with 503 and Retry-After, and /readyz says so", async () => {
    await using running = await startTestServer({ isLoaded: false });
    for (const path of ["/v1/models", "/readyz"]) {
      const response = await running.ask(path);
      expect(response.status).toBe(503);
      expect(response.headers.get("retry-after")).toMatch(/^\d+$/);
      expect(await response.json()).toMatchObject({ error: { code: "loading" } });
    }
    expect((await running.ask("/healthz")).status).toBe(200);
  });
});
