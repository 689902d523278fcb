import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

export default defineConfig({
  resolve: {
    alias: { "kitty-kv": fileURLToPath(new URL("src/index.ts", import.meta.url)) },
  },
  test: {
    // What is waited for comes soon, but not within a second on a machine that is busy.
    expect: { poll: { timeout: 10_000 } },
    include: ["test/{src,e2e,scripts}/**/*.test.ts", "examples/**/*.test.ts"],
    // Real Python workers load torch; on a busy machine of two cores that takes its time.
    testTimeout: 60_000,
    hookTimeout: 120_000,
    teardownTimeout: 20_000,
    pool: "forks",
    maxWorkers: 2,
  },
});
