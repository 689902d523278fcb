import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseJobSpec } from "../../src/job/job-spec.js";
import type { JobState } from "../../src/job/job-state.js";
import { Database } from "../../src/orchestrator/jobs/database.js";
import { EventTable } from "../../src/orchestrator/jobs/event-table.js";
import { JobStore } from "../../src/orchestrator/jobs/job-store.js";

export interface SeededJob {
  spec: object;
  /** @default "succeeded" */
  state?: JobState;
  /** The place of its sweep in the list. */
  parent?: number;
  /** Its files, as text or as JSON. */
  files?: Readonly<Record<string, unknown>>;
}

/** Fills a home with jobs and what they left in their folders. @returns their ids */
export function seedResults(home: string, jobs: readonly SeededJob[]): string[] {
  const database = new Database(join(home, "jobs.db"), { journal: "wal" });
  const events = new EventTable(database, Date.now);
  const store = new JobStore(database, events, Date.now);
  const ids: string[] = [];
  for (const { spec, state = "succeeded", parent, files = {} } of jobs) {
    const [job] = store.insert([{ spec: parseJobSpec(spec), parent: parent === undefined ? undefined : ids[parent] }]);
    if (job === undefined) throw new Error("the store stored nothing");
    database.run(
      "UPDATE jobs SET state = ?, attempt = 1, started_at = created_at, finished_at = ?, result = ? WHERE id = ?",
      ...[state, state === "running" ? null : Date.now(), state === "succeeded" ? RESULT : null, job.id],
    );
    for (const [name, content] of Object.entries(files)) {
      const path = join(home, "jobs", job.id, name);
      mkdirSync(join(path, ".."), { recursive: true });
      writeFileSync(path, typeof content === "string" ? content : `${JSON.stringify(content)}\n`);
    }
    ids.push(job.id);
  }
  events.close();
  database.close();
  return ids;
}

const RESULT = JSON.stringify({ figures: {}, files: [] });

export interface Answers {
  /** Of each preset, an item a letter: whether it was right. */
  presets: Readonly<Record<string, string>>;
  task?: string;
  model?: string;
  hardware?: string;
  seed?: number;
}

/** What an evaluation leaves, with answers of one's own choice. */
export function evaluationFiles({ presets, task = "passkey", model = "m", hardware = "a CPU", seed = 0 }: Answers) {
  const run = { version: 2, model, seed, lengths: [512], dtype: "bfloat16", device: "cpu", kittyKv: "1", torch: "2" };
  const items = Object.entries(presets).flatMap(([preset, rights]) =>
    Array.from(rights, (letter, at) => toRecord(preset, `${task}/${String(at)}`, letter)),
  );
  return {
    "items/run.json": { ...run, text: "a book" },
    "items/environment.json": { hardware, date: "2026-01-01 00:00 UTC" },
    "items/items.jsonl": items.map((item) => `${JSON.stringify(item)}\n`).join(""),
  };
}

const BITS: Readonly<Record<string, number>> = {
  fp16: 16,
  "kitty-pro": 3.2,
  kitty: 3,
  "kivi-2-sink": 2.6,
  "kivi-2": 2.5,
};

/** `r` is right, `w` is wrong, and a digit is the nats a token of a window of a text. */
function toRecord(preset: string, item: string, letter: string): object {
  const isBook = /\d/.test(letter);
  const figures = isBook
    ? { is_correct: null, score: null, nats: Number(letter) * 100, answer_tokens: 100, answer_bytes: 400 }
    : { is_correct: letter === "r", score: letter === "r" ? 1 : 0.5, nats: null, answer_tokens: 4, answer_bytes: 8 };
  const place = { preset, item, task: item.split("/")[0], length: 512, prompt_tokens: 500, packed_bytes: 1000 };
  return { ...place, ...figures, text: null, compression: 16 / (BITS[preset] ?? 4) };
}

/** What `bench latency` measures, with figures of one's own choice. */
export function latencyFiles(peers: Readonly<Record<string, number>>, hardware = "a CPU"): Record<string, unknown> {
  const environment = { hardware, model: "m", dtype: "bfloat16", torch: "2", command: "kitty-kv bench latency" };
  const rows = Object.entries(peers).map(([peer, stepMs]) => ({
    ...{ part: "step", peer, batch: 1, promptTokens: 64, newTokens: 8, firstTokenMs: 20 + stepMs, stepMs },
    ...{
      tokensPerSecond: 1000 / stepMs,
      peakBytes: 2 ** 24,
      aboveWeightsBytes: null,
      cacheBytes: 2 ** 19,
      reason: null,
    },
  }));
  const missing = { part: "step", peer: "hf-hqq-2", batch: 1, promptTokens: 64, stepMs: null, reason: "not installed" };
  return { "figures.json": { environment, rows: [...rows, missing] } };
}

/** What `simulate` compares. */
export function simulationFiles(preset: string, klDivergence: number, more: object = {}): Record<string, unknown> {
  const cache = { preset, kBits: 2, vBits: 2, boostBits: 4, boostRatio: 0.125, selection: "magnitude" };
  const likelihoods = {
    baseline: { bitsPerByte: 1.5, perplexity: 30 },
    simulated: { bitsPerByte: 1.6, perplexity: 33 },
  };
  const windows = {
    text: "a book",
    sequences: 2,
    length: 256,
    dtype: "bfloat16",
    hardware: "a CPU",
    predictedTokens: 510,
  };
  return {
    "figures.json": { model: "m", ...windows, cache, ...likelihoods, klDivergence, top1Agreement: 0.9, ...more },
  };
}
