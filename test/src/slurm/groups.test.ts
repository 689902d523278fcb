import { expect, test } from "vitest";
import { groupTasks } from "../../../src/runner/slurm-groups.js";
import type { Placement } from "../../../src/runner/slurm-submitter.js";

/** Task `index` of the array `jobId`, or the only one of it. */
function placed(jobId: string, index = 0, tasks = 1): Placement {
  const id = tasks === 1 ? jobId : `${jobId}_${String(index)}`;
  return { jobId, index, tasks, id, batch: `b${jobId}`, batchFolder: "/", submittedMs: 0 };
}

function waiting(name: string, needs: Placement[] = [], key = "k") {
  return { name, key, needs };
}

function grouped(tasks: ReturnType<typeof waiting>[], limit = 1000): [string[], string | undefined][] {
  return groupTasks(tasks, limit).map((group) => [group.tasks.map(({ name }) => name), group.dependency]);
}

test("tasks that ask for the same and wait for the same are one array, at most as long as allowed", () => {
  const tasks = [waiting("a"), waiting("b", [], "other"), waiting("c"), waiting("d"), waiting("e", [placed("7")])];
  expect(grouped(tasks, 2)).toEqual([
    [["a", "c"], undefined],
    [["d"], undefined],
    [["e"], "afterok:7"],
    [["b"], undefined],
  ]);
});

test("an array that is needed wholly is named once, single tasks of it one by one", () => {
  const whole = [placed("7", 1, 2), placed("7", 0, 2), placed("8")];
  expect(grouped([waiting("a", whole), waiting("b", [...whole].reverse())])).toEqual([[["a", "b"], "afterok:7:8"]]);
  expect(grouped([waiting("a", [placed("7", 2, 3), placed("7", 0, 3)])])).toEqual([[["a"], "afterok:7_0:7_2"]]);
});

test("where every task of an array has one that waits for it, each waits for its own, in its order", () => {
  const tasks = [2, 0, 1].map((index) => waiting(`after ${String(index)}`, [placed("7", index, 3)]));
  expect(grouped(tasks)).toEqual([[["after 0", "after 1", "after 2"], "aftercorr:7"]]);
  // One is missing, two wait for the same, or there are more than an array may have.
  expect(grouped(tasks.slice(1)).map(([, dependency]) => dependency)).toEqual(["afterok:7_0", "afterok:7_1"]);
  const twice = [...tasks, waiting("again", [placed("7", 0, 3)])];
  expect(grouped(twice).map(([, dependency]) => dependency)).toEqual(["afterok:7_2", "afterok:7_0", "afterok:7_1"]);
  expect(grouped(tasks, 2)).toHaveLength(3);
});
