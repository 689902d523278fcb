import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { Kitty, LocalJobService, resolveConfig, type ConfigInput } from "../../../../src/index.js";
import { temporaryFolder } from "../../../scripts/temporary-folder.js";
import { fixturePath } from "../../fixture-worker.js";

function folder(): string {
  const temporary = temporaryFolder();
  onTestFinished(() => {
    temporary[Symbol.dispose]();
  });
  return temporary.path;
}

function configOf(path: string, jobs: ConfigInput["jobs"] = {}): ConfigInput {
  return { worker: { python: fixturePath("good_worker") }, jobs: { folder: path, ...jobs } };
}

const generate = (prompts: string[], changes: Record<string, unknown> = {}) => ({
  kind: "generate" as const,
  params: { prompts, maxNewTokens: 3 },
  ...changes,
});

test("a batch runs, tells its states in order, and leaves results and a log with their checksums", async () => {
  const path = folder();
  await using kitty = await Kitty.start({ config: configOf(path) });
  const file = join(path, "prompts.jsonl");
  writeFileSync(
    file,
    '"one"\n{"id": "b", "prompt": "two"}\n\n{"id": 3, "messages": [{"role": "user", "content": "x"}]}\n',
  );
  const job = await kitty.jobs.submit({ kind: "generate", params: { promptsFile: file, maxNewTokens: 3 } });
  const states: string[] = [];
  for await (const event of job.events()) if (event.type === "job.state") states.push(event.data.state);
  expect(states).toEqual(["queued", "starting", "running", "succeeded"]);
  const { figures, files } = await job.result();
  expect(figures).toMatchObject({ prompts: 3, succeeded: 3, failed: 0, completionTokens: 9 });
  for (const { name, sizeBytes, sha256 } of files) {
    const bytes = readFileSync(join(path, "jobs", job.id, name));
    expect([bytes.length, createHash("sha256").update(bytes).digest("hex")]).toEqual([sizeBytes, sha256]);
  }
  expect(files.map(({ name }) => name)).toEqual(["results.jsonl", "log.txt"]);
  const lines = readFileSync(join(path, "jobs", job.id, "results.jsonl"), "utf8")
    .trim()
    .split("\n");
  expect(lines.map((line) => JSON.parse(line) as unknown)).toMatchObject([
    { index: 0, id: null, text: "w0 w1 w2 ", finishReason: "length" },
    { index: 1, id: "b", text: "w0 w1 w2 " },
    { index: 2, id: 3, text: "w0 w1 w2 " },
  ]);
  const { text, isEnd } = await job.logs();
  expect(text).toMatch(/attempt 1 begins\n.*3 prompts, 0 of them done before\n.*succeeded\n$/s);
  expect(isEnd).toBe(true);
  expect((await kitty.jobs.get(job.id)).job).toMatchObject({ state: "succeeded", progress: { done: 3, total: 3 } });
});

test("what runs when its Kitty closes waits for the next one, which goes on where it was", async () => {
  const path = folder();
  let id: string;
  {
    await using kitty = await Kitty.start({ config: configOf(path, { slots: 1 }) });
    const job = await kitty.jobs.submit(
      generate(
        Array.from({ length: 40 }, () => "x"),
        { params: { prompts: Array.from({ length: 40 }, () => "x"), maxNewTokens: 300, concurrency: 1 } },
      ),
    );
    id = job.id;
    await expect.poll(async () => (await job.refresh()).progress?.done ?? 0).toBeGreaterThan(0);
  }
  await using kitty = await Kitty.start({ config: configOf(path) });
  const job = await kitty.jobs.get(id);
  expect(await job.result()).toMatchObject({ figures: { prompts: 40, completionTokens: 12_000 } });
  expect(job.job).toMatchObject({ attempt: 2, lostAttempts: 0 });
  expect((await job.logs()).text).toMatch(/40 prompts, [1-9]\d* of them done before/);
});

test("cancel ends what waits at once and what runs soon; retry runs it again", async () => {
  await using kitty = await Kitty.start({ config: configOf(folder(), { slots: 1 }) });
  const running = await kitty.jobs.submit(generate(["x"], { params: { prompts: ["x"], maxNewTokens: 1_000_000 } }));
  const waiting = await kitty.jobs.submit(generate(["x"]));
  await expect.poll(async () => (await running.refresh()).state).toBe("running");
  expect(await waiting.cancel()).toMatchObject({ state: "cancelled" });
  expect(await running.cancel()).toMatchObject({ isCancelRequested: true });
  expect(await running.wait()).toMatchObject({ state: "cancelled" });
  await expect(running.result()).rejects.toMatchObject({ name: "JobFailedError", details: { state: "cancelled" } });
  await waiting.retry();
  expect(await waiting.result()).toMatchObject({ figures: { prompts: 1 } });
  await expect(waiting.retry()).rejects.toMatchObject({ code: "job_state_conflict" });
});

test("a time limit ends a job as timed_out, a mistake is not tried again, and a bad prompt is a result", async () => {
  await using kitty = await Kitty.start({ config: configOf(folder()) });
  const slow = await kitty.jobs.submit(
    generate(["x"], { params: { prompts: ["x"], maxNewTokens: 1_000_000 }, resources: { timeLimitMinutes: 0.005 } }),
  );
  expect(await slow.wait()).toMatchObject({ state: "timed_out", error: { code: "time_limit" } });
  const mixed = await kitty.jobs.submit(generate(["good", "\ud800"]));
  expect(await mixed.result()).toMatchObject({ figures: { succeeded: 1, failed: 1 } });
});

test("a sweep makes a child of every combination and gathers their results; its cancel is theirs", async () => {
  await using kitty = await Kitty.start({ config: configOf(folder(), { slots: 1 }) });
  const base = generate(["x"]);
  const sweep = await kitty.jobs.submit({
    kind: "sweep",
    params: { base, matrix: { maxNewTokens: [1, 2], preset: ["kitty", "fp16"] } },
  });
  const { figures } = await sweep.result();
  expect(figures["children"]).toMatchObject([
    { values: { maxNewTokens: 1, preset: "kitty" }, state: "succeeded", figures: { completionTokens: 1 } },
    { values: { maxNewTokens: 1, preset: "fp16" } },
    { values: { maxNewTokens: 2, preset: "kitty" }, figures: { completionTokens: 2 } },
    { values: { maxNewTokens: 2, preset: "fp16" } },
  ]);
  const long = await kitty.jobs.submit({
    kind: "sweep",
    params: { base, matrix: { maxNewTokens: [1_000_000, 1_000_001] } },
  });
  await expect.poll(async () => (await kitty.jobs.list({ parent: long.id })).jobs.length).toBe(2);
  await long.cancel();
  expect(await long.wait()).toMatchObject({ state: "cancelled" });
  const page = async () => (await kitty.jobs.list({ parent: long.id })).jobs.map(({ state }) => state);
  await expect.poll(page).toEqual(["cancelled", "cancelled"]);
});

test("a dead worker costs an attempt and no result; with the last attempt the job fails and says why", async () => {
  await using kitty = await Kitty.start({ config: configOf(folder()) });
  const params = { prompts: ["x", "do:kill"], maxNewTokens: 3, concurrency: 1 };
  const job = await kitty.jobs.submit({ kind: "generate", params, retry: { maxAttempts: 2, backoffMs: 10 } });
  expect(await job.wait()).toMatchObject({ state: "failed", attempt: 2, error: { code: "worker_exited" } });
  expect((await job.logs()).text).toMatch(/attempt 2 begins\n.*2 prompts, 1 of them done before/);
});

test("lists go page by page, and what does not exist is not found", async () => {
  const service = new LocalJobService({ config: resolveConfig(configOf(folder())) });
  onTestFinished(() => service.close());
  const jobs = await service.submitMany(Array.from({ length: 5 }, () => generate(["x"])));
  const first = await service.list({ limit: 3 });
  const second = await service.list({ limit: 3, cursor: first.next ?? "" });
  expect([...first.jobs, ...second.jobs].map(({ id }) => id)).toEqual(jobs.map(({ id }) => id).reverse());
  expect(second.next).toBeNull();
  for (const call of ["get", "cancel", "retry", "logs", "wait"] as const) {
    await expect(service[call]("../../etc/passwd")).rejects.toMatchObject({ code: "job_not_found" });
  }
  await expect(service.list({ cursor: "x" })).rejects.toMatchObject({ name: "ConfigError" });
  await expect(service.logs(jobs[0]?.id ?? "", { offset: -1 })).rejects.toMatchObject({ name: "ConfigError" });
});

test.each([
  [{ kind: "generate", resources: { gpus: 1 } }, /resources.gpus is 1, this orchestrator has 0 to give/],
  [{ kind: "generate", runner: "slurm" }, /runner is "slurm", this orchestrator runs "local"/],
  [
    { kind: "generate", params: { promptsFile: "/no/such/file" } },
    /params.promptsFile is "\/no\/such\/file", which does not exist/,
  ],
  [
    { kind: "sweep", params: { base: { kind: "generate" }, matrix: { promptsFile: ["/no/such/file"] } } },
    /does not exist/,
  ],
])("what can never run is refused when it is submitted: %j", async (spec, message) => {
  const service = new LocalJobService({ config: resolveConfig(configOf(folder())) });
  onTestFinished(() => service.close());
  await expect(service.submit(spec as never)).rejects.toThrow(message);
  expect((await service.list()).jobs).toEqual([]);
});

test("another process's submissions and cancels are seen by the one that runs jobs", async () => {
  const path = folder();
  await using kitty = await Kitty.start({ config: configOf(path) });
  expect(await kitty.jobs.events.page(0)).toMatchObject([{ topic: "system", type: "orchestrator.started" }]);
  const other = new LocalJobService({ config: resolveConfig(configOf(path)) });
  onTestFinished(() => other.close());
  const { id } = await other.submit(generate(["x"], { params: { prompts: ["x"], maxNewTokens: 1_000_000 } }));
  await expect.poll(async () => (await other.get(id)).state).toBe("running");
  await other.cancel(id);
  expect(await other.wait(id)).toMatchObject({ state: "cancelled" });
  expect(() => new LocalJobService({ config: kitty.config, sessions: kitty.sessions })).toThrow(/does so already/);
});
