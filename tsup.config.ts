import { defineConfig } from "tsup";

export default defineConfig({
  entry: { index: "src/index.ts", "cli/main": "src/cli/main.ts" },
  format: "esm",
  target: "node20",
  platform: "node",
  dts: { entry: { index: "src/index.ts" } },
  splitting: true,
  sourcemap: true,
  clean: true,
  // The worker needs pythonia's Python files, so it has to stay a package on disk.
  external: ["pythonia"],
});
