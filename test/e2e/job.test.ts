import { join } from "node:path";
import { execa } from "execa";
import { expect, onTestFinished, test } from "vitest";
import { temporaryFolder } from "../scripts/temporary-folder.js";
import { whyNoRealWorker } from "../src/real-worker.js";

const CLI = join(import.meta.dirname, "../../dist/cli/main.js");

function commandLine() {
  const home = temporaryFolder();
  onTestFinished(() => {
    home[Symbol.dispose]();
  });
  return async (args: string[], input = "") => {
    const env = { KITTY_KV_HOME: home.path, OMP_NUM_THREADS: "1" };
    const result = await execa(process.execPath, [CLI, "job", ...args, "--json"], { reject: false, input, env });
    const documents = result.stdout.split("\n").filter((line) => line !== "");
    return { exitCode: result.exitCode, documents: documents.map((line) => JSON.parse(line) as Record<string, never>) };
  };
}

test("a job outlives the command that submitted it, and another command runs it with the real worker", async ({
  skip,
}) => {
  const problem = whyNoRealWorker();
  skip(problem !== undefined, problem);
  const kitty = commandLine();
  const spec = "kind: generate\nname: two\nparams: { prompts: [Once upon a time, The cat], maxNewTokens: 4 }\n";
  const submit = ["submit", "-", "--idempotency-key", "k"];
  const [submitted] = (await kitty(submit, spec)).documents;
  expect(submitted).toMatchObject({ state: "queued", name: "two" });
  const id = String(submitted?.["id"]);
  expect((await kitty(submit, spec)).documents).toMatchObject([{ id }]);
  expect(await kitty(submit, "kind: latency")).toMatchObject({
    exitCode: 1,
    documents: [{ error: { code: "idempotency_conflict" } }],
  });
  const waited = await kitty(["wait", id]);
  expect(waited).toMatchObject({ exitCode: 0, documents: [{ id, state: "succeeded" }] });
  expect(waited.documents[0]?.["result"]).toMatchObject({ figures: { prompts: 2, completionTokens: 8 } });
  expect((await kitty(["list", "--state", "succeeded"])).documents).toMatchObject([{ jobs: [{ id }], next: null }]);
  expect((await kitty(["logs", id])).documents[0]?.["text"]).toMatch(/succeeded\n$/);
  expect(await kitty(["retry", id])).toMatchObject({
    exitCode: 1,
    documents: [{ error: { code: "job_state_conflict" } }],
  });
});

test("wrong specs and flags end with 2, unknown ids with 1; a job that waits is cancelled at once", async () => {
  const kitty = commandLine();
  const wrong = await kitty(["submit", "-"], '{"kind": "generate", "params": {"maxNewToken": 3}}');
  expect(wrong).toMatchObject({ exitCode: 2, documents: [{ error: { details: { suggestion: "maxNewTokens" } } }] });
  expect(await kitty(["submit", "-"], "kind: [")).toMatchObject({ exitCode: 2 });
  expect(await kitty(["submit", "/no/such/file"])).toMatchObject({ exitCode: 2 });
  expect(await kitty(["list", "--state", "quued"])).toMatchObject({ exitCode: 2 });
  expect(await kitty(["show", "../../etc/passwd"])).toMatchObject({
    exitCode: 1,
    documents: [{ error: { code: "job_not_found" } }],
  });
  const [{ id } = {}] = (await kitty(["submit", "-"], "kind: generate")).documents;
  expect((await kitty(["cancel", String(id)])).documents).toMatchObject([{ state: "cancelled" }]);
  expect((await kitty(["show", String(id)])).documents).toMatchObject([{ state: "cancelled", attempt: 0 }]);
});

test("an eval job answers its tasks with the job's preset and fp16, and keeps its items", async ({ skip }) => {
  const problem = whyNoRealWorker();
  skip(problem !== undefined, problem);
  const kitty = commandLine();
  const spec = "kind: eval\ncache: { preset: kivi-2 }\nparams: { tasks: copying, limit: 1 }\n";
  const { exitCode, documents } = await kitty(["submit", "-", "--wait"], spec);
  expect(exitCode).toBe(0);
  const last = documents.at(-1);
  expect(last).toMatchObject({ kind: "eval", state: "succeeded" });
  expect(JSON.stringify(last?.["result"])).toContain("kivi-2");
  expect(JSON.stringify(last?.["result"])).toContain("copying");
});
