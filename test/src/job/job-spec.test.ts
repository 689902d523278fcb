import { expect, test } from "vitest";
import { ConfigError } from "../../../src/errors.js";
import { jobIdSchema, parseJobSpec } from "../../../src/job/job-spec.js";
import { expandSweep } from "../../../src/job/sweep.js";
import type { SweepParams } from "../../../src/job/job-params.js";

test.each(["generate", "latency", "simulate", "eval", "sweep"])("a %s job needs nothing but its kind", (kind) => {
  expect(parseJobSpec({ kind })).toMatchObject({
    kind,
    retry: { maxAttempts: 3, backoffMs: 1000 },
    resources: {},
    dependsOn: [],
    priority: 0,
  });
});

test("the contract's example is a spec", () => {
  const spec = {
    kind: "generate",
    name: "a name",
    model: "path/or/id",
    cache: { preset: "kitty-pro" },
    params: { prompts: ["one"] },
    resources: { gpus: 1, cpus: 4, memoryMiB: 32_000, timeLimitMinutes: 60 },
    retry: { maxAttempts: 3, backoffMs: 1000 },
    runner: "local",
  };
  expect(parseJobSpec(spec)).toMatchObject(spec);
});

test.each([
  [{ kind: "generat" }, /kind must be one of .*did you mean "generate"\?/],
  [{}, /kind must be one of generate, latency, simulate, eval, sweep, got nothing/],
  [{ kind: "generate", modle: "x" }, /unknown key "modle", did you mean "model"\?/],
  [{ kind: "generate", params: { maxNewToken: 4 } }, /unknown key "maxNewToken", did you mean "maxNewTokens"\?/],
  [
    { kind: "simulate", params: { prompts: ["x"] } },
    /unknown key "prompts", known keys are text, sequences, length, verify/,
  ],
  [{ kind: "generate", cache: { preset: "kity" } }, /unknown preset "kity", did you mean "kitty"\?/],
  [{ kind: "generate", resources: { gpu: 1 } }, /unknown key "gpu", did you mean "gpus"\?/],
  [{ kind: "generate", retry: { maxAttempts: 0 } }, /retry.maxAttempts must be > 0|retry.maxAttempts must be >= 1/],
  [{ kind: "generate", dependsOn: ["../../etc/passwd"] }, /dependsOn.0 must be a job's id, got "..\/..\/etc\/passwd"/],
  [{ kind: "generate", priority: 1e9 }, /priority must be <= 1000/],
  [[], /must be/],
  [null, /must be/],
  ["kind: generate", /must be/],
])("%j is refused in one sentence", (input, message) => {
  expect(() => parseJobSpec(input)).toThrow(ConfigError);
  expect(() => parseJobSpec(input)).toThrow(message);
});

test("an eval job asks little unless told otherwise, and knows its keys", () => {
  expect(parseJobSpec({ kind: "eval" }).params).toEqual({ tasks: "offline", limit: 2, lengths: "512" });
  expect(() => parseJobSpec({ kind: "eval", params: { task: "copying" } })).toThrow(/tasks/);
});

const WRONG_EVAL: [params: Record<string, unknown>, message: RegExp, code: string][] = [
  [{ tasks: "pass-key,copying" }, /unknown task "pass-key", did you mean "passkey"\?/, "unknown_task"],
  [{ tasks: "multi_kye" }, /did you mean "multi_key"\?/, "unknown_task"],
  [{ tasks: "AIME-24" }, /did you mean "aime24"\?/, "unknown_task"],
  [{ tasks: "," }, /params.tasks names nothing, got ","/, "invalid_argument"],
  [{ presets: "fp16,kity" }, /unknown preset "kity", did you mean "kitty"\?/, "unknown_preset"],
  [
    { presets: "kitty:selecton=range" },
    /unknown change "selecton=range", did you mean "selection"\?/,
    "invalid_argument",
  ],
  [{ presets: "kitty:boost_ratio" }, /changes are written as in kitty:boost_ratio=0.5/, "invalid_argument"],
  [{ lengths: "512,-1" }, /params.lengths must be whole numbers >= 512 by commas, got "512,-1"/, "invalid_argument"],
  [{ lengths: "100" }, /params.lengths must be whole numbers >= 512/, "invalid_argument"],
  [{ limit: 0 }, /params.limit must be > 0|params.limit must be >= 1/, "invalid_argument"],
  [{ limit: -3 }, /params.limit must be/, "invalid_argument"],
  [{ repeats: 1e6 }, /params.repeats must be <= 1000/, "invalid_argument"],
  [{ metrics: "acc" }, /unknown key "metrics", did you mean "metric"\?/, "invalid_argument"],
];

test.each(WRONG_EVAL)(
  "an eval job, and a sweep of them, with %j is refused when it is submitted",
  (params, message, code) => {
    const refusal = expect.objectContaining({ code, message: expect.stringMatching(message) as string }) as Error;
    expect(() => parseJobSpec({ kind: "eval", params })).toThrow(refusal);
    const rows = Object.entries(params).filter(([field]) => field !== "metrics");
    const matrix = Object.fromEntries(rows.map(([field, value]) => [field, [value]]));
    if (rows.length > 0) expect(() => expandSweep({ base: { kind: "eval" }, matrix })).toThrow(refusal);
  },
);

test("names that may be lm-evaluation-harness's, or a user's own, are left to it", () => {
  for (const tasks of ["hellaswag", "aime", "minerva_math_geometry", "gsm8k_cot_llama,passkey", "humaneval_plus"])
    expect(parseJobSpec({ kind: "eval", params: { tasks } }).params).toMatchObject({ tasks });
  const params = { tasks: "passkeys", includePath: "tasks", metric: "acc,none", repeats: 2, maxNewTokens: 9 };
  expect(parseJobSpec({ kind: "eval", params }).params).toMatchObject(params);
});

test("an id is never a path", () => {
  for (const id of ["..", ".", "a/b", "a\\b", "-rf", "", "a\0b", "a b", "ä"]) {
    expect(jobIdSchema.safeParse(id).success).toBe(false);
  }
  expect(jobIdSchema.safeParse("j0123456789abcdef").success).toBe(true);
});

test("a sweep is every combination, by short names and written-out ones", () => {
  const children = expandSweep({
    base: { kind: "generate", params: { prompts: ["x"], seed: 1 } },
    matrix: { preset: ["kitty", "fp16"], maxNewTokens: [1, 2], "resources.cpus": [3], name: ["n"] },
  });
  expect(children.map(({ values }) => values)).toEqual(
    ["kitty", "fp16"].flatMap((preset) =>
      [1, 2].map((maxNewTokens) => ({ preset, maxNewTokens, "resources.cpus": 3, name: "n" })),
    ),
  );
  expect(children[3]?.spec).toMatchObject({
    kind: "generate",
    name: "n",
    cache: { preset: "fp16" },
    params: { prompts: ["x"], seed: 1, maxNewTokens: 2 },
    resources: { cpus: 3 },
  });
});

test.each<[SweepParams, RegExp]>([
  [{ base: { kind: "sweep" }, matrix: { name: ["a"] } }, /params.base.kind must be another kind/],
  [
    { base: { kind: "simulate" }, matrix: { preste: ["kitty"] } },
    /unknown field "preste" in params.matrix, did you mean "preset"\?/,
  ],
  [{ base: { kind: "simulate" }, matrix: { preset: ["kity"] } }, /unknown preset "kity"/],
  [{ base: { kind: "simulate" }, matrix: { "__proto__.x": [1] } }, /unknown key "__proto__"/],
  [
    {
      base: { kind: "simulate" },
      matrix: {
        length: Array.from({ length: 40 }, (_, i) => i + 1),
        sequences: Array.from({ length: 40 }, (_, i) => i + 1),
      },
    },
    /1600 combinations, at most 1000/,
  ],
])("a sweep that cannot be is refused: %#", (params, message) => {
  expect(() => expandSweep(params)).toThrow(message);
  expect(({} as Record<string, unknown>)["x"]).toBeUndefined();
});

test("a sweep of evaluations varies presets, tasks and seeds of the questions", () => {
  const matrix = { presets: ["fp16", "kitty"], tasks: ["passkey", "copying"], seed: [0, 1] };
  const children = expandSweep({ base: { kind: "eval", params: { limit: 4, stopEarly: true } }, matrix });
  expect(children).toHaveLength(8);
  expect(children[3]?.spec).toMatchObject({
    kind: "eval",
    params: { presets: "fp16", tasks: "copying", seed: 1, limit: 4, stopEarly: true },
  });
});
