import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Kitty, KittyError } from "../../../src/index.js";
import { TEST_MODEL, whyNoRealWorker } from "../real-worker.js";

const PROMPT = "It was a bright cold day, and the old man went down to the";
const reason = whyNoRealWorker();
const suffix = reason === undefined ? "" : ` (skipped: ${reason})`;

describe.skipIf(reason !== undefined)(`worker.kvMemoryMiB${suffix}`, () => {
  let kitty: Kitty;
  beforeAll(async () => {
    kitty = await Kitty.start({ config: { model: TEST_MODEL, worker: { kvMemoryMiB: 1 } } });
  });
  afterAll(() => kitty.close());

  test.each([
    ["a prompt, before anything is known of the model", "word ".repeat(600), 4],
    ["a text", PROMPT, 1500],
    ["a prompt, later", "word ".repeat(600), 4],
  ])("refuses what can never fit, by the limit's name: %s", async (_, prompt, maxNewTokens) => {
    await using session = await kitty.sessions.open();
    const refused = await session
      .generate(prompt, { maxNewTokens })
      .result()
      .then(undefined, (error: unknown) => error);
    expect(refused).toBeInstanceOf(KittyError);
    expect(refused).toMatchObject({ code: "cache_out_of_memory", details: { maxBytes: 1_048_576 } });
    expect((refused as KittyError).message).toMatch(/does not fit into 1,048,576 bytes .* \(kvMemoryMiB\)/);
    // The session is what it was before.
    expect((await session.generate(PROMPT, { maxNewTokens: 4 }).result()).usage.completionTokens).toBe(4);
  });

  test("lets sessions wait and give way that do not fit together, and changes none of their texts", async () => {
    await using unlimited = await Kitty.start({ config: { model: TEST_MODEL } });
    const texts = await Promise.all([kitty, unlimited].map((one) => textsOf(one)));
    expect(texts[0]).toEqual(texts[1]);
  });
});

async function textsOf(kitty: Kitty): Promise<string[]> {
  const sessions = await Promise.all(Array.from({ length: 4 }, () => kitty.sessions.open()));
  const streams = sessions.map((session, at) => session.generate(`${String(at)} ${PROMPT}`, { maxNewTokens: 70 }));
  const texts = await Promise.all(streams.map(async (stream) => (await stream.result()).text));
  await Promise.all(sessions.map((session) => session.close()));
  return texts;
}

describe.skipIf(reason !== undefined)(`a full queue${suffix}`, () => {
  test("answers at once with queue_full, and those in it are as they would be", { timeout: 60_000 }, async () => {
    await using kitty = await Kitty.start({ config: { model: TEST_MODEL } });
    // The engine steps 64 and lets 1024 wait.
    const sessions = await Promise.all(Array.from({ length: 1200 }, () => kitty.sessions.open()));
    const first = sessions.map((session) => session.generate(PROMPT, { maxNewTokens: 200 }));
    const begun = performance.now();
    const refused = await Promise.race(first.map((stream) => stream.result().then(() => undefined, toError)));
    expect(refused).toMatchObject({ name: "KittyError", code: "queue_full", details: { limit: 1024 } });
    expect(performance.now() - begun).toBeLessThan(5000);
    await Promise.all(first.slice(1).map((stream) => stream.cancel()));
    expect(await first[0]?.result()).toMatchObject({ finishReason: "length", usage: { completionTokens: 200 } });
  });
});

const toError = (error: unknown): unknown => error;
