import { expect, test } from "vitest";
import { nearestName } from "../../../src/util/nearest-name.js";

const NAMES = ["preset", "kBits", "vBits", "recentTokens"];

test.each([
  ["prest", "preset"],
  ["kbits", "kBits"],
  ["recentToken", "recentTokens"],
  ["recent_tokens", "recentTokens"],
])("nearestName() finds for %s the name %s", (wrong, right) => {
  expect(nearestName(wrong, NAMES)).toBe(right);
});

test("nearestName() suggests nothing when nothing is near", () => {
  expect(nearestName("colour", NAMES)).toBeUndefined();
});
