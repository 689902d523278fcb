import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Kitty, type Speculation } from "../../../src/index.js";
import { packageRoot } from "../../../src/runner/package-root.js";
import { fixturePath } from "../fixture-worker.js";
import { TEST_MODEL, whyNoRealWorker } from "../real-worker.js";

const REPEATING = "Mia has a red ball. ".repeat(6);
const MODEL = TEST_MODEL ?? join(packageRoot(), "python", "kitty_kv", "tiny", "model");
const reason = whyNoRealWorker();

describe.skipIf(reason !== undefined)(`drafts${reason === undefined ? "" : ` (skipped: ${reason})`}`, () => {
  let kitty: Kitty;
  beforeAll(async () => {
    kitty = await Kitty.start({ config: { model: TEST_MODEL } });
  });
  afterAll(() => kitty.close());

  test("of the text and of a draft model change no text and are counted", async () => {
    const generate = async (speculation?: Speculation) => {
      await using session = await kitty.sessions.open();
      return await session.generate(REPEATING, { maxNewTokens: 60, speculation }).result();
    };
    const plain = await generate();
    const lookup = await generate({ method: "prompt-lookup", ngramMin: 1 });
    const own = await generate({ method: "draft-model", model: MODEL, draftTokens: 3 });
    expect(plain.metrics).toMatchObject({ draftedTokens: 0, acceptedTokens: 0 });
    for (const { text, metrics } of [lookup, own]) {
      expect(text).toBe(plain.text);
      expect(metrics.acceptedTokens).toBeGreaterThan(0);
      expect(metrics.draftedTokens).toBeGreaterThanOrEqual(metrics.acceptedTokens);
    }
  });
});

test("speculation that is none is refused before anything is sent, by its nearest name", async () => {
  await using kitty = await Kitty.start({ config: { worker: { python: fixturePath("good_worker") } } });
  await using session = await kitty.sessions.open();
  const refusals: [object, RegExp][] = [
    [{ method: "prompt-look" }, /speculation\.method must be one of .*did you mean "prompt-lookup"/],
    [{ method: "prompt-lookup", draftToken: 4 }, /unknown key "draftToken", did you mean "draftTokens"/],
    [{ method: "prompt-lookup", draftTokens: 16 }, /speculation\.draftTokens must be <= 15, got 16/],
    [{ method: "draft-model" }, /speculation\.model must be the draft model's folder or hub id, got null/],
    [{ method: "prompt-lookup", model: "x" }, /speculation\.model must be left out, got "x"/],
  ];
  for (const [speculation, message] of refusals) {
    expect(() => session.generate("hello", { speculation } as never)).toThrow(message);
  }
});
