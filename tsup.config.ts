import { defineConfig } from "tsup";
import { dashboardPage } from "./scripts/build/dashboard-page.js";

export default defineConfig([
  {
    entry: { index: "src/index.ts", "cli/main": "src/cli/main.ts" },
    format: "esm",
    target: "node20",
    platform: "node",
    dts: { entry: { index: "src/index.ts" } },
    splitting: true,
    sourcemap: true,
    clean: ["**/*", "!dashboard/**"],
    // The worker needs pythonia's Python files, so it has to stay a package on disk.
    external: ["pythonia"],
  },
  {
    entry: { app: "src/dashboard/main.tsx" },
    outDir: "dist/dashboard",
    tsconfig: "src/dashboard/tsconfig.json",
    format: "esm",
    target: "es2022",
    platform: "browser",
    minify: true,
    clean: true,
    // The browser has no packages.
    noExternal: [/.*/],
    define: { "process.env.NODE_ENV": '"production"' },
    plugins: [dashboardPage()],
    esbuildOptions(options) {
      options.entryNames = "assets/[name]-[hash]";
      options.assetNames = "assets/[name]-[hash]";
      options.loader = { ...options.loader, ".svg": "file" };
    },
  },
]);
