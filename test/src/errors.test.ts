import { expect, test } from "vitest";
import * as sdk from "../../src/index.js";
import { fromWireError } from "../../src/bridge/from-wire-error.js";

test.each([
  ["ConfigError", "invalid_argument"],
  ["TimeoutError", "timeout"],
  ["CancelledError", "cancelled"],
  ["OverlayInUseError", "overlay_in_use"],
  ["JobFailedError", "job_failed"],
  ["UnauthorizedError", "unauthorized"],
  ["NotFoundError", "not_found"],
  ["UnsupportedError", "unsupported"],
  ["KittyError", "internal"],
] as const)("%s has its name, the code %s, its cause and a JSON form", (name, code) => {
  const cause = new Error("first");
  const error = new sdk[name]("Cannot do it", { details: { key: 1 }, cause });
  expect(error).toBeInstanceOf(sdk.KittyError);
  expect(String(error)).toBe(`${name}: Cannot do it`);
  expect(error.cause).toBe(cause);
  expect(JSON.parse(JSON.stringify(error))).toEqual({ code, message: "Cannot do it", details: { key: 1 } });
  expect(Object.keys(error)).not.toContain("name");
});

test("WorkerExitedError carries how it ended, also in its details", () => {
  const exit = { exitCode: null, signal: "SIGKILL", stderrTail: ["last"] };
  const error = new sdk.WorkerExitedError("Cannot go on", exit, { details: { reason: "why" } });
  expect(error).toMatchObject({ ...exit, code: "worker_exited", details: { ...exit, reason: "why" } });
});

test.each([
  ["empty_prompt", "ConfigError"],
  ["context_exceeded", "ConfigError"],
  ["unknown_preset", "ConfigError"],
  ["not_a_model", "NotFoundError"],
  ["session_not_found", "NotFoundError"],
  ["unsupported", "UnsupportedError"],
  ["session_busy", "KittyError"],
  ["out_of_memory", "KittyError"],
])("fromWireError() of %s is a %s with that code", (code, name) => {
  expect(fromWireError({ code, message: "m" })).toMatchObject({ name, code, message: "m", details: {} });
});
