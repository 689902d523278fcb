// What the job store costs on this machine's disk: npx tsx scripts/bench-jobs.ts [--jobs 10000]
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { LocalJobService, resolveConfig, type JobSpecInput } from "../src/index.js";

const BATCH = 500;
const SINGLE = 300;
const PAGES = 100;

const { values } = parseArgs({ options: { jobs: { type: "string", default: "10000" } } });
const total = Number(values.jobs);
const folder = mkdtempSync(join(tmpdir(), "kitty-kv-bench-jobs-"));
const service = new LocalJobService({ config: resolveConfig({ jobs: { folder } }) });
const spec: JobSpecInput = { kind: "generate", params: { prompts: ["Once upon a time"], maxNewTokens: 64 } };
try {
  const single = await perSecond(SINGLE, async () => {
    for (let i = 0; i < SINGLE; i++) await service.submit(spec);
  });
  const inBatches = total - SINGLE;
  const batch = await perSecond(inBatches, async () => {
    for (let done = 0; done < inBatches; done += BATCH) {
      await service.submitMany(Array.from({ length: Math.min(BATCH, inBatches - done) }, () => spec));
    }
  });
  console.log(`submits a second, one by one:        ${single.toFixed(0)} (wanted 300)`);
  console.log(`submits a second, batches of ${String(BATCH)}:    ${batch.toFixed(0)} (wanted 1000)`);
  console.log(`list page of 50 of ${String(total)}, p95:    ${(await listP95()).toFixed(2)} ms (wanted 50)`);
  console.log(`resident memory:                     ${(process.memoryUsage.rss() / 1e6).toFixed(0)} MB (wanted 250)`);
} finally {
  await service.close();
  rmSync(folder, { recursive: true });
}

async function perSecond(count: number, work: () => Promise<void>): Promise<number> {
  const begun = performance.now();
  await work();
  return (count / (performance.now() - begun)) * 1000;
}

/** Pages from the newest on, each filtered by state, as a dashboard asks for them. */
async function listP95(): Promise<number> {
  const times: number[] = [];
  let cursor: string | undefined;
  for (let i = 0; i < PAGES; i++) {
    const begun = performance.now();
    const { next } = await service.list({ state: "queued", limit: 50, cursor });
    times.push(performance.now() - begun);
    cursor = next ?? undefined;
  }
  return times.sort((a, b) => a - b)[Math.floor(PAGES * 0.95)] ?? Number.NaN;
}
