import { expect, onTestFinished, test } from "vitest";
import { JobQueue } from "../../../../src/orchestrator/jobs/job-queue.js";
import { temporaryFolder } from "../../../scripts/temporary-folder.js";
import { openStore, spec } from "./open-store.js";

const FREE = { hasSlot: true, freeGpus: 0 };

test("a job begins before those that it depends on have ended only where it can wait for all of them elsewhere", () => {
  const temporary = temporaryFolder();
  onTestFinished(() => {
    temporary[Symbol.dispose]();
  });
  using store = openStore(temporary.path);
  const queue = new JobQueue(store, "me", 1000);
  const [one, sweep] = store.insert([{ spec: spec() }, { spec: spec({ kind: "sweep" }) }]);
  const [needed, ran] = [one?.id ?? "", sweep?.id ?? ""];
  const children = store.insert([1, 2].map(() => ({ spec: spec(), parent: ran })));
  const [first = "", second = ""] = children.map(({ id }) => id);
  while (queue.claim(FREE) !== undefined);
  queue.begin({ id: ran, number: 1 });
  const waiting = store.insert([{ spec: spec({ dependsOn: [needed, ran] }) }])[0]?.id ?? "";
  const isClaimed = (): boolean => {
    const claimed = queue.claim(FREE);
    if (claimed !== undefined) queue.postpone({ id: claimed.id, number: claimed.attempt });
    return claimed?.id === waiting;
  };
  expect(queue.openDependencies(waiting).sort()).toEqual([needed, first, second].sort());
  for (const id of [needed, first]) queue.setPlaced(id, true);
  expect(isClaimed()).toBe(false);
  queue.setPlaced(second, true);
  expect(isClaimed()).toBe(true);
  queue.setPlaced(needed, false);
  expect(isClaimed()).toBe(false);
  queue.setPlaced(needed, true);
  const claimed = queue.claim(FREE);
  // What it waits for fails while it is elsewhere, and it comes back.
  queue.end({ id: needed, number: 1 }, "fail", { code: "internal", message: "", details: {} });
  expect(store.get(waiting).state).toBe("starting");
  expect(queue.postpone({ id: waiting, number: claimed?.attempt ?? 0 })).toBe(true);
  expect(store.get(waiting)).toMatchObject({ state: "failed", error: { code: "dependency_failed" } });
});
