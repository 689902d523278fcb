import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { whyNoRealWorker } from "../../src/real-worker.js";
import { startTestServer, type TestServer } from "../../src/server/test-server.js";
import { closePage, DASHBOARD, launch, openPage, screenshot, whyNoBrowser } from "./browser.js";
import { seedJobs } from "./seed-jobs.js";

const reason = whyNoRealWorker() ?? whyNoBrowser();
const COUNT = 10_000;

describe.skipIf(reason !== undefined)("the dashboard with 10,000 jobs", () => {
  let running: TestServer;
  let browser: Browser;

  beforeAll(async () => {
    const prepare = (home: string): void => {
      seedJobs(home, COUNT);
    };
    running = await startTestServer({ dashboard: DASHBOARD, isLoaded: false, prepare });
    browser = await launch();
  });
  afterAll(async () => {
    await browser.close();
    await running[Symbol.asyncDispose]();
  });

  test("has only the rows in sight in the page, finds any of them, and goes to the last", async () => {
    const page = await openPage(browser, running.server, "/jobs");
    await page.getByText("10,000 jobs", { exact: true }).waitFor();
    expect(await page.getByRole("row").count()).toBeLessThan(70);
    const table = page.getByRole("table", { name: "Jobs" });
    expect(await table.getAttribute("aria-rowcount")).toBe("10001");
    await table.evaluate((element) => {
      element.scrollTop = element.scrollHeight;
    });
    await page.getByText("Seeded 00000").waitFor();
    await screenshot(page, "10000-jobs");
    await page.getByRole("button", { name: "Name" }).click();
    await table.evaluate((element) => {
      element.scrollTop = 0;
    });
    await expect.poll(() => page.getByRole("row").nth(1).innerText()).toContain("Seeded 00000");
    await page.getByLabel("Search names, ids and errors").fill("seeded 04321");
    await page.getByText("1 of 10,000 jobs", { exact: true }).waitFor();
    await closePage(page);
  });

  test("counts states, filters by them, and a new job comes in first", async () => {
    const page = await openPage(browser, running.server, "/jobs");
    await page.getByText("10,000 jobs", { exact: true }).waitFor();
    await page
      .getByRole("group", { name: "States" })
      .getByRole("button", { name: /failed/ })
      .click();
    await page.getByText("1,112 of 10,000 jobs", { exact: true }).waitFor();
    await page
      .getByRole("group", { name: "States" })
      .getByRole("button", { name: /failed/ })
      .click();
    await running.ask("/api/jobs", { body: { kind: "generate", name: "The newest", params: { maxNewTokens: 2 } } });
    await expect.poll(() => page.getByRole("row").nth(1).innerText()).toContain("The newest");
    await closePage(page);
  });
});
