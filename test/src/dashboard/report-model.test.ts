import { expect, test } from "vitest";
import { placePareto } from "../../../src/dashboard/model/pareto.js";
import { canReport, reportAddress } from "../../../src/dashboard/model/reportable.js";
import {
  bestCompressed,
  conditionsOf,
  distinctNames,
  formatP,
  formatSigned,
  latencyGroups,
  taskMatrix,
  verdict,
} from "../../../src/dashboard/model/report.js";
import type { JobState, JobSummary } from "../../../src/server/wire/jobs.js";
import type { Comparison } from "../../../src/server/wire/reports.js";

const FRAME = { width: 640, height: 300, left: 40, right: 20, top: 10, bottom: 40 };

function preset(name: string, bits: number, accuracy: number) {
  const interval: [number, number] = [Math.max(0, accuracy - 0.1), Math.min(1, accuracy + 0.1)];
  return { preset: name, bits, items: 10, answers: 10, correct: accuracy * 10, accuracy, accuracyInterval: interval };
}

function comparison(changes: Partial<Comparison> = {}): Comparison {
  const presets = [preset("fp16", 16, 1), preset("kitty-pro", 4, 0.9), preset("kivi-2", 2.5, 0.5)];
  return { ...{ run: {}, seeds: [0], environments: [], presets, tasks: [], unbeaten: [], commands: [] }, ...changes };
}

test("p values and differences are short and keep their sign", () => {
  expect([undefined, 0.0004, 0.0312, 0.4, 1].map(formatP)).toEqual(["–", "< 0.001", "0.031", "0.40", "1.00"]);
  expect([-4.69, 4.69, -0.01, 0].map((value) => formatSigned(value))).toEqual(["−4.7", "+4.7", "0.0", "0.0"]);
});

test("only a difference that is more than chance is called one, and by its direction", () => {
  expect(verdict({ holmP: 0.04, lost: 6, won: 0 })).toBe("worse");
  expect(verdict({ holmP: 0.04, lost: 0, won: 6 })).toBe("better");
  expect(verdict({ holmP: 0.05, lost: 6, won: 0 })).toBe("open");
  expect(verdict({ lost: 6, won: 0 })).toBe("open");
});

test("the best preset below 16 bits is the most accurate, and of equal ones the smallest", () => {
  expect(bestCompressed(comparison())?.preset).toBe("kitty-pro");
  const equal = [preset("fp16", 16, 1), preset("kitty-pro", 4, 0.9), preset("kitty", 3, 0.9)];
  expect(bestCompressed(comparison({ presets: equal }))?.preset).toBe("kitty");
  expect(bestCompressed(comparison({ presets: [preset("fp16", 16, 1)] }))).toBeUndefined();
});

test("points stand within their frame, more bits further right, more accuracy higher, and no name covers another", () => {
  const presets = [...comparison().presets, preset("kivi-2-sink", 2.6, 0.5), preset("other", 2.55, 0.5)];
  const { points, line, yMarks, xMarks } = placePareto(presets, ["kivi-2", "kitty-pro", "fp16"], FRAME);
  const of = (name: string) => points.find((point) => point.name === name);
  expect(of("fp16")?.x).toBe(FRAME.width - FRAME.right);
  expect(of("kitty-pro")?.x).toBeGreaterThan(of("kivi-2")?.x ?? Infinity);
  expect(of("kitty-pro")?.y).toBeLessThan(of("kivi-2")?.y ?? -Infinity);
  for (const { x, top, bottom } of points) {
    expect(x).toBeGreaterThanOrEqual(FRAME.left);
    expect(top).toBeGreaterThanOrEqual(FRAME.top - 0.001);
    expect(bottom).toBeLessThanOrEqual(FRAME.height - FRAME.bottom + 0.001);
  }
  expect(line.split(" ")).toHaveLength(3);
  expect([xMarks[0]?.text, xMarks.at(-1)?.text]).toEqual(["2", "16"]);
  expect([yMarks[0]?.text, yMarks.at(-1)?.text]).toEqual(["40%", "100%"]);
  const heights = points.flatMap(({ label }) => (label?.isBefore === false ? [label.y] : []));
  for (const [index, height] of [...heights].sort((a, b) => a - b).entries()) {
    if (index > 0) expect(height - ([...heights].sort((a, b) => a - b)[index - 1] ?? 0)).toBeGreaterThanOrEqual(16);
  }
});

test("of many presets only those are named that nothing beats", () => {
  const many = Array.from({ length: 30 }, (_, at) => preset(`p${String(at)}`, 2 + at / 4, at === 3 ? 0.9 : 0.5));
  const { points } = placePareto(many, ["p0", "p3"], FRAME);
  expect(points).toHaveLength(30);
  expect(points.flatMap(({ name, label }) => (label === undefined ? [] : [name])).sort()).toEqual(["p0", "p3"]);
});

test("one accuracy for all, none or all right, still has a scale", () => {
  for (const accuracy of [0, 0.5, 1]) {
    const same = ["fp16", "kitty"].map((name, at) => ({
      ...preset(name, 16 / (1 + at), accuracy),
      accuracyInterval: [accuracy, accuracy] as [number, number],
    }));
    const { points, yMarks } = placePareto(same, ["kitty"], FRAME);
    expect(yMarks.length).toBeGreaterThan(1);
    expect(points.every(({ x, y, top, bottom }) => [x, y, top, bottom].every(Number.isFinite))).toBe(true);
  }
});

test("results of one model are told apart by what differs", () => {
  const rows = [
    { model: "m", dtype: "float32", device: "cpu" },
    { model: "m", dtype: "bfloat16", device: "cpu" },
    { model: "n", dtype: "bfloat16" },
    { model: "n", dtype: "bfloat16" },
    { model: { not: "a name" } },
  ];
  expect(distinctNames(rows, ["model", "dtype", "device"])).toEqual([
    "m, float32",
    "m, bfloat16",
    "n",
    "n (2)",
    "a model",
  ]);
});

test("conditions name hardware and versions, each once, and leave out what is not known", () => {
  const environments = [
    { hardware: "H200", python: "3.11" },
    { hardware: "H100", python: "3.11" },
  ];
  const found = conditionsOf(comparison({ environments, run: { model: "m", torch: "2.1" }, seeds: [0, 1] }));
  expect(Object.fromEntries(found)).toEqual({
    ...{ Model: "m", Hardware: "H200, H100", Seeds: "0, 1", Torch: "2.1", Python: "3.11" },
  });
});

test("tasks stand beside their presets whatever is missing", () => {
  const row = { length: null, compression: 4, items: 2 };
  const tasks = [
    { ...row, task: "passkey", preset: "kivi-2" },
    { ...row, task: "copying", preset: "fp16" },
    { ...row, task: "copying", preset: "fp16", length: 512 },
  ];
  const matrix = taskMatrix(comparison({ tasks }));
  expect(matrix.map(({ task, cells }) => [task, cells.map((cell) => cell?.preset)])).toEqual([
    ["passkey", [undefined, undefined, "kivi-2"]],
    ["copying", ["fp16", undefined, undefined]],
  ]);
});

test("latencies are grouped by what was measured alike, whatever a row lacks", () => {
  const groups = latencyGroups([
    { part: "step", batch: 1, promptTokens: 64, peer: "a", stepMs: 1 },
    { part: "step", batch: 1, promptTokens: 64, peer: "b", stepMs: null },
    { peer: "c" },
  ]);
  expect(groups.map(({ name, rows }) => [name, rows.length])).toEqual([
    ["step · 1 × 64 tokens", 2],
    ["? · ? × ? tokens", 1],
  ]);
});

test("a report is offered where there is something to report on", () => {
  const job = (kind: string, state: JobState, more: object = {}) => ({ kind, state, ...more }) as unknown as JobSummary;
  expect(canReport(job("eval", "queued"))).toBe(false);
  expect(canReport(job("eval", "running"))).toBe(true);
  expect(canReport(job("eval", "failed"))).toBe(true);
  expect(canReport(job("latency", "running"))).toBe(false);
  expect(canReport(job("simulate", "succeeded"))).toBe(true);
  expect(canReport(job("generate", "succeeded"))).toBe(false);
  expect(canReport(job("sweep", "running", { spec: { params: { base: { kind: "eval" } } } }))).toBe(true);
  expect(canReport(job("sweep", "running", { spec: { params: { base: { kind: "generate" } } } }))).toBe(false);
  expect(reportAddress([])).toBe("/report");
  expect(reportAddress(["a", "b&c"])).toBe("/report?jobs=a,b%26c");
});
