// Writes docs/api.md from the API's OpenAPI document. Run: npx tsx scripts/api-document.ts [--check]
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ENDPOINTS } from "../src/server/endpoints.js";
import { describeApi } from "../src/server/openapi.js";
import { renderApi } from "./render-api.js";

const path = join(import.meta.dirname, "../docs/api.md");
const text = renderApi(describeApi(ENDPOINTS, "of this checkout"));
if (!process.argv.includes("--check")) writeFileSync(path, text);
else if (readFileSync(path, "utf8") !== text) {
  process.stderr.write('docs/api.md is not what the API says: run "npx tsx scripts/api-document.ts"\n');
  process.exitCode = 1;
}
