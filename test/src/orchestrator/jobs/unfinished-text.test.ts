import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { Kitty, type Job } from "../../../../src/index.js";
import type { AttemptContext } from "../../../../src/orchestrator/jobs/executor.js";
import { JobFolder } from "../../../../src/orchestrator/jobs/job-folder.js";
import { generateExecutor } from "../../../../src/orchestrator/jobs/run-generate.js";
import { parseJobSpec } from "../../../../src/job/job-spec.js";
import { temporaryFolder } from "../../../scripts/temporary-folder.js";
import { whyNoRealWorker } from "../../real-worker.js";

const problem = whyNoRealWorker();
const PROMPT = "The old captain looked at the sea and";

test("a text that was interrupted goes on from its saved cache, and is the same as one written at once", async ({
  skip,
}) => {
  skip(problem !== undefined, problem);
  const temporary = temporaryFolder();
  onTestFinished(() => {
    temporary[Symbol.dispose]();
  });
  await using kitty = await Kitty.start();
  const execute = generateExecutor(kitty.sessions);
  const spec = parseJobSpec({ kind: "generate", params: { prompts: [PROMPT], maxNewTokens: 400 } });
  const folder = new JobFolder(temporary.path, "j1");
  folder.make();
  const run = async (controller: AbortController) => {
    const context: AttemptContext = {
      ...{
        job: { id: "j1", spec } as unknown as Job,
        folder,
        gpus: [],
        openDependencies: () => [],
        signal: controller.signal,
      },
      ...{ begin: () => undefined, log: () => undefined, progress: () => undefined, isInterrupted: () => true },
    };
    return await execute(context);
  };
  // A session of before warms the worker up, and says what the text must be.
  await using session = await kitty.sessions.open();
  const whole = await session.generate(PROMPT, { maxNewTokens: 400 }).result();
  for (let cut = 0; cut < 2; cut++) {
    const controller = new AbortController();
    setTimeout(
      () => {
        controller.abort();
      },
      (whole.timeToFirstTokenMs ?? 0) + 400 + 300 * cut,
    );
    await expect(run(controller)).rejects.toMatchObject({ name: "CancelledError" });
    expect(existsSync(join(folder.path, "unfinished-0.partial.json"))).toBe(true);
  }
  expect(await run(new AbortController())).toMatchObject({
    figures: { succeeded: 1, completionTokens: whole.usage.completionTokens },
  });
  const { text, promptTokens } = JSON.parse(readFileSync(folder.file("results.jsonl"), "utf8")) as {
    text: string;
    promptTokens: number;
  };
  expect({ text, promptTokens }).toEqual({ text: whole.text, promptTokens: whole.usage.promptTokens });
});

test("a session that has no unfinished text has nothing to resume", async ({ skip }) => {
  skip(problem !== undefined, problem);
  await using kitty = await Kitty.start();
  await using session = await kitty.sessions.open();
  await expect(session.resume().result()).rejects.toMatchObject({ code: "empty_prompt" });
});
