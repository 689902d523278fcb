import { describe, expect, test } from "vitest";
import { findAlerts } from "../../../src/dashboard/model/alerts.js";
import { parseAnsi, stripAnsi } from "../../../src/dashboard/model/ansi.js";
import { secondsLeft } from "../../../src/dashboard/model/eta.js";
import { readFigures, rowLabels } from "../../../src/dashboard/model/figures.js";
import { formatBytes, formatDuration } from "../../../src/dashboard/model/format.js";
import { readQuery, select, writeQuery } from "../../../src/dashboard/model/job-query.js";
import { JobTable } from "../../../src/dashboard/model/job-table.js";
import { LogBuffer, MOST_LINES } from "../../../src/dashboard/model/log-buffer.js";
import {
  fieldError,
  readFields,
  schemaOfKind,
  toSpec,
  type JsonSchema,
} from "../../../src/dashboard/model/schema-form.js";
import { readTimeline, shares } from "../../../src/dashboard/model/timeline.js";
import { ENDPOINTS } from "../../../src/server/endpoints.js";
import { describeApi } from "../../../src/server/openapi.js";
import type { Event } from "../../../src/server/wire/events.js";

const T0 = Date.parse("2026-01-01T00:00:00.000Z");
const at = (seconds: number): string => new Date(T0 + seconds * 1000).toISOString();

function stateEvent(seq: number, state: string, previous: string | null, data: object = {}): Event {
  return {
    seq,
    time: at(seq),
    topic: "job",
    type: "job.state",
    id: "j1",
    data: { state, previous, attempt: 1, ...data },
  };
}

describe("a table of jobs", () => {
  test("follows a job's events from its submission to its end and its retry", () => {
    const table = new JobTable();
    table.apply(stateEvent(1, "queued", null, { kind: "generate", name: "One", attempt: 0, priority: 3 }));
    expect(table.get("j1")).toMatchObject({ name: "One", priority: 3, createdAt: at(1), startedAt: null });
    table.apply(stateEvent(2, "starting", "queued"));
    table.apply({ ...stateEvent(3, "", ""), type: "job.progress", data: { done: 1, total: 4 } });
    table.apply({ ...stateEvent(4, "", ""), type: "job.cancel_requested", data: {} });
    expect(table.get("j1")).toMatchObject({
      progress: { done: 1, total: 4 },
      isCancelRequested: true,
      startedAt: at(2),
    });
    const error = { code: "cancelled", message: "why", details: {} };
    table.apply(stateEvent(5, "cancelled", "running", { error }));
    expect(table.get("j1")).toMatchObject({ state: "cancelled", finishedAt: at(5), error });
    table.apply(stateEvent(6, "queued", "cancelled"));
    expect(table.get("j1")).toMatchObject({ startedAt: null, finishedAt: null, error: null, isCancelRequested: false });
    table.apply({ ...stateEvent(7, "", ""), type: "job.removed", data: {} });
    expect(table.size).toBe(0);
  });

  test("asks for a job that it has never heard of, and leaves other topics alone", () => {
    const table = new JobTable();
    expect(table.apply(stateEvent(1, "running", "starting"))).toBe("j1");
    expect(table.apply({ ...stateEvent(1, "", ""), topic: "session", type: "session.opened" })).toBeUndefined();
    expect(table.size).toBe(0);
  });
});

test("what a list shows is in its address, and what is wrong in an address is left out", () => {
  const query = readQuery(new URLSearchParams("?q=a+cat&state=failed,nonsense&kind=eval&sort=name.asc&x=1"));
  expect(query).toEqual({ text: "a cat", states: ["failed"], kinds: ["eval"], sort: "name", isAscending: true });
  expect(readQuery(new URLSearchParams(writeQuery(query)))).toEqual(query);
  expect(writeQuery(readQuery(new URLSearchParams("sort=constructor")))).toBe("");
});

test("jobs are found by all words of the search, and equal ones stay in one order", () => {
  const table = new JobTable();
  for (const [index, name] of ["cat one", "dog two", "cat two"].entries()) {
    const event = stateEvent(index, "queued", null, { kind: "eval", name });
    table.apply({ ...event, id: `j${String(index)}` });
  }
  const found = (text: string) => select(table.all(), readQuery(new URLSearchParams(text)), T0).map(({ id }) => id);
  expect(found("q=CAT+two")).toEqual(["j2"]);
  expect(found("sort=kind.asc")).toEqual(["j0", "j1", "j2"]);
  expect(found("")).toEqual(["j2", "j1", "j0"]);
});

describe("colours of a log", () => {
  test("are told by their codes, and everything else stays text", () => {
    const spans = parseAnsi(
      'plain \u001b[1;31mred\u001b[0m \u001b[38;5;196mindexed\u001b[48;2;1;2;300mexact\u001b[m <b onclick="x">',
    );
    expect(spans.map(({ text }) => text).join("")).toBe('plain red indexedexact <b onclick="x">');
    expect(spans[1]?.classes).toEqual(["ansi-bold", "ansi-fg-1"]);
    expect(spans[3]?.color).toBe("rgb(255 0 0)");
    expect(spans[4]?.background).toBe("rgb(1 2 255)");
    expect(spans.at(-1)?.classes).toEqual([]);
  });

  test("sequences that move a cursor or set a title are left out, and of a progress bar its last state stays", () => {
    expect(stripAnsi("\u001b]0;title\u0007a\u001b[2Kb\u001b[10;5Hc\u0000")).toBe("abc");
    expect(stripAnsi("10%\r50%\r100%\r")).toBe("100%");
    expect(parseAnsi("\u001b[38;5m\u001b[999mx")).toMatchObject([{ text: "x" }]);
  });
});

describe("a log's buffer", () => {
  test("joins lines that pages cut, and begins after the line that its start cuts", () => {
    const buffer = new LogBuffer(100);
    buffer.append({ text: "cut\nwhole ä\nha", offset: 100, nextOffset: 115 });
    buffer.append({ text: "lf\n", offset: 115, nextOffset: 118 });
    expect(buffer.lines).toEqual(["whole ä", "half"]);
    expect([buffer.start, buffer.next, buffer.rest]).toEqual([104, 118, ""]);
    buffer.prepend({ text: "of before\nsecond\ncut\n", offset: 83, nextOffset: 104 });
    expect(buffer.lines).toEqual(["second", "cut", "whole ä", "half"]);
    expect(buffer.start).toBe(93);
  });

  test("keeps a limit, and says how many bytes it has left out", () => {
    const buffer = new LogBuffer();
    const count = MOST_LINES * 1.2;
    buffer.append({ text: "x\n".repeat(count), offset: 0, nextOffset: count * 2 });
    expect(buffer.lines).toHaveLength(MOST_LINES);
    expect(buffer.start).toBe((count - MOST_LINES) * 2);
  });
});

test("a timeline has a stretch for every state of every attempt, with its share", () => {
  const events = [
    stateEvent(0, "queued", null),
    stateEvent(10, "starting", "queued"),
    stateEvent(20, "queued", "starting", { error: { message: "lost" } }),
    stateEvent(40, "failed", "queued"),
  ];
  const stretches = readTimeline(events);
  expect(stretches.map(({ state, error }) => [state, error])).toEqual([
    ["queued", undefined],
    ["starting", undefined],
    ["queued", "lost"],
    ["failed", undefined],
  ]);
  expect(shares(stretches, T0 + 99_000)).toEqual([0.25, 0.25, 0.5, 0]);
  expect(shares(stretches.slice(0, 1), T0 + 1)).toEqual([1]);
});

test("the time that is left follows from the time that was needed", () => {
  const job = { state: "running" as const, startedAt: at(0), progress: { done: 1, total: 4 } };
  expect(secondsLeft(job, T0 + 10_000)).toBe(30);
  expect(secondsLeft({ ...job, progress: { done: 0, total: 4 } }, T0 + 10_000)).toBeUndefined();
  expect(secondsLeft({ ...job, state: "queued" }, T0 + 10_000)).toBeUndefined();
});

test("figures of any kind become values and tables whose rows have names", () => {
  const { values, tables } = readFigures({
    model: "tiny",
    baseline: { perplexity: 2 },
    rows: [
      { peer: "a", batch: 1, stepMs: 3, reason: null },
      { peer: "a", batch: 2, stepMs: 4, reason: null },
    ],
  });
  expect(values).toEqual({ model: "tiny", "baseline.perplexity": 2 });
  expect(tables[0]?.columns).toEqual(["peer", "batch", "stepMs"]);
  expect(tables.flatMap(rowLabels)).toEqual(["batch 1", "batch 2"]);
});

describe("the form of a job", () => {
  const paths = describeApi(ENDPOINTS, "test").paths as Record<
    string,
    { post?: { requestBody?: { content: Record<string, { schema: JsonSchema }> } } }
  >;
  const all = paths["/api/jobs"]?.post?.requestBody?.content["application/json"]?.schema ?? {};
  const fields = readFields(schemaOfKind(all, "generate") ?? {});

  test("has an input for everything that the server's schema takes", () => {
    const types = Object.fromEntries(fields.map(({ path, type }) => [path, type]));
    expect(types).toMatchObject({
      ...{ name: "text", model: "text", "cache.preset": "choice", "params.prompts": "lines" },
      ...{ "params.maxNewTokens": "integer", "resources.timeLimitMinutes": "number", "retry.maxAttempts": "integer" },
    });
    for (const kind of ["latency", "simulate", "eval", "sweep"])
      expect(readFields(schemaOfKind(all, kind) ?? {})).not.toEqual([]);
  });

  test("says what is wrong with a number, and makes a spec of what is right", () => {
    const field = fields.find(({ path }) => path === "params.maxNewTokens");
    if (field === undefined) throw new Error("There is no such field");
    expect(["x", "1.5", "0", "3", ""].map((text) => fieldError(field, text))).toEqual([
      ...["Must be a number.", "Must be a whole number.", "Must be more than 0.", undefined, undefined],
    ]);
    const spec = toSpec("generate", fields, {
      name: "One",
      "params.maxNewTokens": "3",
      "params.prompts": "a\n\nb",
      "params.seed": "x",
    });
    expect(spec).toEqual({ kind: "generate", name: "One", params: { maxNewTokens: 3, prompts: ["a", "b"] } });
  });
});

test("alerts say in words what failed, what waits and what died, the worst first", () => {
  const table = new JobTable();
  table.apply(stateEvent(1, "queued", null, { kind: "eval" }));
  table.apply({ ...stateEvent(2, "queued", null, { kind: "eval" }), id: "j2" });
  table.apply(stateEvent(3, "failed", "running"));
  const situation = { jobs: table.all(), system: undefined, latest: undefined, instances: [], now: T0 + 700_000 };
  expect(findAlerts(situation).map(({ text }) => text)).toEqual([
    "One job failed in the last hour.",
    "Nothing runs, and a job has waited 11 min.",
  ]);
});

test("numbers have units that people read", () => {
  expect([0, 1023, 1536, 2 ** 40].map(formatBytes)).toEqual(["0 B", "1023 B", "1.5 KiB", "1.0 TiB"]);
  expect([0.04, 59, 61, 3600, 90_061, Number.NaN].map(formatDuration)).toEqual([
    "0.0 s",
    "59 s",
    "1 min 1 s",
    "1 h",
    "1 d 1 h",
    "–",
  ]);
});
