import { expect, test } from "vitest";
import { isTerminal, JOB_STATES, nextState, type JobAction } from "../../../src/job/job-state.js";
import { retryDelayMs } from "../../../src/job/retry.js";

const ACTIONS: JobAction[] = ["claim", "begin", "succeed", "fail", "cancel", "time_out", "requeue", "retry"];

test("the state machine is exactly the contract's: queued, starting, running, four ends, and back to queued", () => {
  const edges = JOB_STATES.flatMap((state) =>
    ACTIONS.flatMap((action) => {
      const next = nextState(state, action);
      return next === undefined ? [] : [`${state} ${action} ${next}`];
    }),
  );
  expect(edges).toEqual([
    "queued claim starting",
    "queued fail failed",
    "queued cancel cancelled",
    "starting begin running",
    "starting fail failed",
    "starting cancel cancelled",
    "starting time_out timed_out",
    "starting requeue queued",
    "running succeed succeeded",
    "running fail failed",
    "running cancel cancelled",
    "running time_out timed_out",
    "running requeue queued",
    "failed retry queued",
    "cancelled retry queued",
    "timed_out retry queued",
  ]);
  expect(JOB_STATES.filter(isTerminal)).toEqual(["succeeded", "failed", "cancelled", "timed_out"]);
});

test("waits double from attempt to attempt, end with the attempts, and are none for permanent mistakes", () => {
  const retry = { maxAttempts: 4, backoffMs: 100 };
  expect([1, 2, 3, 4].map((failed) => retryDelayMs(retry, failed, "worker_exited"))).toEqual([
    100,
    200,
    400,
    undefined,
  ]);
  expect(retryDelayMs(retry, 1, "model_not_found")).toBeUndefined();
  expect(retryDelayMs({ maxAttempts: 99, backoffMs: 1000 }, 60, "timeout")).toBe(3_600_000);
});
