// Measures the dashboard in Chromium against the real server with 10,000 jobs; see docs/measured.md.
// Run: npm run build && npx tsx test/e2e/dashboard/bench-dashboard.ts [minutes of soak, 30]
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import type { CDPSession, Page } from "playwright-core";
import { Kitty } from "../../../src/index.js";
import type { NewEvent } from "../../../src/job/event.js";
import { serve } from "../../../src/server/serve.js";
import { DASHBOARD, launch } from "./browser.js";
import { seedJobs } from "./seed-jobs.js";

const JOBS = 10_000;
const RATE = 2000;
const BURST_MS = 50;
const soakMinutes = Number(process.argv[2] ?? 30);

const home = mkdtempSync(join(tmpdir(), "kitty-bench-"));
process.env["KITTY_KV_HOME"] = home;
seedJobs(home, JOBS);
const kitty = await Kitty.start({ config: { server: { port: 0 } } });
const server = await serve(kitty, { version: "bench", dashboard: DASHBOARD });
const browser = await launch();
try {
  const page = await (await browser.newContext({ viewport: { width: 1440, height: 900 } })).newPage();
  // Once to sign in, so that what is measured is a page as one opens it.
  await page.goto(`${server.url}/jobs#token=${server.token}`);
  await page.getByText("10,000 jobs", { exact: true }).waitFor();
  console.log(`bundle: ${kib(bundleBytes())} gzip (script and style)`);
  console.log(`interactive: ${await opening(page)}`);
  console.log(`scrolling: ${await longTasks(page, () => scroll(page))}`);
  console.log(`event to pixel, alone: ${await eventToPixel(page)}`);
  console.log(`${String(RATE)} events/s for 20 s: ${await longTasks(page, () => rain(20_000))}`);
  console.log(`event to pixel, beside ${String(RATE)} events/s: ${await besideRain(page)}`);
  await soak(page);
} finally {
  await browser.close();
  await server.close();
  await kitty.close();
  rmSync(home, { recursive: true, force: true });
}

function bundleBytes(): number {
  const folder = join(DASHBOARD, "assets");
  const files = readdirSync(folder).filter((name) => /\.(js|css)$/.test(name));
  return files.reduce((sum, name) => sum + gzipSync(readFileSync(join(folder, name)), { level: 9 }).length, 0);
}

/** From the navigation to rows that are there and answer, and to all jobs; the median of five. */
async function opening(page: Page): Promise<string> {
  const rows: number[] = [];
  const all: number[] = [];
  for (let round = 0; round < 5; round++) {
    await page.goto(`${server.url}/jobs`, { waitUntil: "commit" });
    await page.locator("[role=row] a").first().waitFor();
    await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(resolve)));
    rows.push(await page.evaluate(() => performance.now()));
    await page.getByText("10,000 jobs", { exact: true }).waitFor();
    all.push(await page.evaluate(() => performance.now()));
  }
  return `rows after ${ms(quantile(rows, 0.5))}, all ${String(JOBS)} after ${ms(quantile(all, 0.5))} (medians of 5)`;
}

/** What blocks the page for longer than 50 ms while something goes on. */
async function longTasks(page: Page, work: () => Promise<void>): Promise<string> {
  await page.evaluate(() => {
    const tasks: number[] = ((window as unknown as { tasks: number[] }).tasks = []);
    const observer = new PerformanceObserver((list) => {
      tasks.push(...list.getEntries().map(({ duration }) => duration));
    });
    observer.observe({ type: "longtask" });
  });
  await work();
  await sleep(500);
  const tasks = await page.evaluate(() => (window as unknown as { tasks: number[] }).tasks);
  const longest = tasks.length === 0 ? "none" : ms(Math.max(...tasks));
  return `${String(tasks.length)} tasks over 50 ms, ${String(tasks.filter((task) => task > 100).length)} over 100 ms, longest ${longest}`;
}

async function scroll(page: Page): Promise<void> {
  await page.evaluate(async () => {
    const list = document.querySelector(".job-list");
    if (list === null) throw new Error("There is no list");
    for (let step = 0; step < 300; step++) {
      list.scrollTop = (list.scrollHeight / 300) * step;
      await new Promise((resolve) => requestAnimationFrame(resolve));
    }
    list.scrollTop = 0;
  });
}

async function rain(durationMs: number): Promise<void> {
  const begun = { seq: kitty.jobs.log.lastSeq, at: performance.now() };
  const { jobs } = await kitty.jobs.list({ limit: 500 });
  const count = (RATE * BURST_MS) / 1000;
  const end = performance.now() + durationMs;
  for (let sent = 0, next = performance.now(); next < end; next += BURST_MS) {
    const events = Array.from({ length: count }, (_, index): NewEvent => {
      const id = jobs[(sent + index) % jobs.length]?.id ?? "";
      return { topic: "job", type: "job.progress", id, data: { done: sent, total: 1_000_000 } };
    });
    kitty.jobs.log.appendAll(events);
    sent += count;
    await sleep(Math.max(0, next + BURST_MS - performance.now()));
  }
  const written = kitty.jobs.log.lastSeq - begun.seq;
  console.log(`  (${((written * 1000) / (performance.now() - begun.at)).toFixed(0)} events/s were written)`);
}

/** From the append to the log until the frame that shows the change; both clocks are this machine's. */
async function eventToPixel(page: Page): Promise<string> {
  const times: number[] = [];
  const { jobs } = await kitty.jobs.list({ limit: 1 });
  const id = jobs[0]?.id ?? "";
  for (let round = 0; round < 100; round++) {
    const state = round % 2 === 0 ? "failed" : "cancelled";
    const shown = page.waitForFunction(
      ([job, wanted]) => {
        const row = document.querySelector(`a[href="/jobs/${job}"]`)?.closest("[role=row]");
        return row?.querySelector(`.state-${wanted}`) instanceof Element ? Date.now() : 0;
      },
      [id, state] as const,
      { polling: "raf" },
    );
    await sleep(30 + (round % 7) * 11);
    const begun = Date.now();
    const data = { state, previous: "running", attempt: 1 };
    kitty.jobs.log.append({ topic: "job", type: "job.state", id, data });
    times.push((await (await shown).jsonValue()) - begun);
  }
  return `median ${ms(quantile(times, 0.5))}, p95 ${ms(quantile(times, 0.95))} of ${String(times.length)}`;
}

async function besideRain(page: Page): Promise<string> {
  const raining = rain(15_000);
  const found = await eventToPixel(page);
  await raining;
  return found;
}

/** The heap after a collection, once a minute, under 20 events a second. */
async function soak(page: Page): Promise<void> {
  const session = await page.context().newCDPSession(page);
  const { jobs } = await kitty.jobs.list({ limit: 500 });
  for (let minute = 0; minute <= soakMinutes; minute++) {
    console.log(`heap after ${String(minute)} min: ${await heap(session)}`);
    for (let tick = 0; minute < soakMinutes && tick < 600; tick++) {
      const id = jobs[tick % jobs.length]?.id ?? "";
      const event: NewEvent = { topic: "job", type: "job.progress", id, data: { done: tick, total: 600 } };
      kitty.jobs.log.appendAll([event, event]);
      await sleep(100);
    }
  }
}

async function heap(session: CDPSession): Promise<string> {
  await session.send("HeapProfiler.collectGarbage");
  const { usedSize } = await session.send("Runtime.getHeapUsage");
  return `${(usedSize / 2 ** 20).toFixed(1)} MiB`;
}

function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}

function ms(value: number): string {
  return `${value.toFixed(0)} ms`;
}

function kib(bytes: number): string {
  return `${(bytes / 1024).toFixed(1)} KiB`;
}
