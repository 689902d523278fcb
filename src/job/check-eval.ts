import { cacheSchema, PRESET_NAMES } from "../config/schema.js";
import { ConfigError } from "../errors.js";
import { editDistance, nearestName } from "../util/nearest-name.js";
import type { EvalParams } from "./job-params.js";

/** Tasks that need no data, and the group of all of them; Python says the same (`kitty_kv/eval/offline.py`). */
export const OFFLINE_TASKS = [
  "passkey",
  "multi_key",
  "variable_tracking",
  "copying",
  "arithmetic",
  "book_perplexity",
  "offline",
];
/** The paper's, of lm-evaluation-harness, which has thousands more (`kitty_kv/eval/paper_tasks.py`). */
export const PAPER_TASKS = [
  "gsm8k_cot_llama",
  "minerva_math_algebra",
  "humaneval_instruct",
  "gpqa_diamond_cot_n_shot",
  "aime24",
  "aime25",
];
const SHORTEST = 512;

/**
 * Checks what is known of an evaluation without running it, so that it is refused when it is submitted and not when its turn
 * comes: names of presets and tasks, and lengths.
 * @throws ConfigError
 */
export function checkEval({ tasks, presets, lengths, includePath }: EvalParams, attempt: string): void {
  for (const name of namesIn("tasks", tasks, attempt)) {
    if (includePath === undefined) checkTask(name, attempt);
  }
  if (presets !== undefined) {
    for (const name of namesIn("presets", presets, attempt)) checkPreset(name, attempt);
  }
  for (const length of namesIn("lengths", lengths, attempt)) {
    if (/^\d+$/.test(length) && Number(length) >= SHORTEST) continue;
    throw new ConfigError(
      `Cannot ${attempt}: params.lengths must be whole numbers >= ${String(SHORTEST)} by commas, got ${JSON.stringify(lengths)}`,
      { details: { path: "params.lengths", value: length } },
    );
  }
}

function namesIn(field: string, list: string, attempt: string): string[] {
  const names = list.split(",").filter((name) => name !== "");
  if (names.length > 0) return names;
  throw new ConfigError(`Cannot ${attempt}: params.${field} names nothing, got ${JSON.stringify(list)}`, {
    details: { path: `params.${field}` },
  });
}

/** Other names may be the harness's, which is asked when the job starts; what is nearly one of ours is a slip. */
function checkTask(task: string, attempt: string): void {
  const known = [...OFFLINE_TASKS, ...PAPER_TASKS];
  if (known.includes(task)) return;
  const suggestion = nearestName(task, known);
  if (suggestion === undefined || !isSlip(task, suggestion)) return;
  throw new ConfigError(
    `Cannot ${attempt}: params.tasks has the unknown task ${JSON.stringify(task)}, did you mean "${suggestion}"? The tasks are ${known.join(", ")} and others of lm-evaluation-harness`,
    { code: "unknown_task", details: { path: "params.tasks", task, suggestion, known } },
  );
}

// Of the harness's own names none is as near to one of these but "aime", which is shorter.
const MOST_WRONG_LETTERS = 2;
const FEWEST_LETTERS = 6;

function isSlip(task: string, suggestion: string): boolean {
  const letters = (name: string): string => name.toLowerCase().replace(/[^a-z0-9]/g, "");
  if (letters(task) === letters(suggestion)) return true;
  return task.length >= FEWEST_LETTERS && editDistance(task.toLowerCase(), suggestion) <= MOST_WRONG_LETTERS;
}

const CACHE_FIELDS = Object.keys(cacheSchema.shape)
  .filter((field) => field !== "preset")
  .map((field) => field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`));

/** A preset, or one with changed fields: `kitty:selection=range`. */
function checkPreset(name: string, attempt: string): void {
  const [preset = "", ...changes] = name.split(":");
  if (!(PRESET_NAMES as readonly string[]).includes(preset)) throw unknownPreset(preset, attempt);
  for (const change of changes) {
    const [field = "", value] = change.split("=");
    if (CACHE_FIELDS.includes(field) && value !== undefined && value !== "") continue;
    const suggestion = nearestName(field, CACHE_FIELDS);
    const hint =
      suggestion === undefined || suggestion === field
        ? `changes are written as in kitty:boost_ratio=0.5`
        : `did you mean "${suggestion}"?`;
    throw new ConfigError(
      `Cannot ${attempt}: params.presets has the unknown change ${JSON.stringify(change)}, ${hint}`,
      { details: { path: "params.presets", field, suggestion } },
    );
  }
}

function unknownPreset(preset: string, attempt: string): ConfigError {
  const suggestion = nearestName(preset, PRESET_NAMES);
  const hint = suggestion === undefined ? "the" : `did you mean "${suggestion}"? The`;
  return new ConfigError(
    `Cannot ${attempt}: params.presets has the unknown preset ${JSON.stringify(preset)}, ${hint} presets are ${PRESET_NAMES.join(", ")}`,
    { code: "unknown_preset", details: { path: "params.presets", preset, suggestion, known: PRESET_NAMES } },
  );
}
