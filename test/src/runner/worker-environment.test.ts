import { expect, test } from "vitest";
import { workerEnvironment } from "../../../src/runner/worker-environment.js";

test("a worker sees our variables but not the server's token", () => {
  const seen = workerEnvironment("/package", {
    KITTY_KV_HOME: "/home",
    KITTY_KV_TOKEN: "secret",
    AWS_SECRET: "secret",
  });
  expect(seen["KITTY_KV_HOME"]).toBe("/home");
  expect(Object.values(seen)).not.toContain("secret");
});
