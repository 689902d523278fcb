import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, beforeAll } from "vitest";
import { whyNoRealWorker } from "../../src/real-worker.js";
import { startTestServer, type TestServer, type TestServerOptions } from "../../src/server/test-server.js";
import { DASHBOARD, launch, openPage, whyNoBrowser } from "./browser.js";

/** Why tests of the dashboard cannot run here; undefined where they can. */
export const dashboardProblem = whyNoRealWorker() ?? whyNoBrowser();

export interface TestDashboard {
  running: TestServer;
  browser: Browser;
  /** A page of its own, signed in; what its console says is an error of the test, unless it is allowed. */
  open: (path: string, options?: BrowserContextOptions & { allowed?: RegExp }) => Promise<Page>;
  /** Submits a job. @returns its id */
  submit: (spec: object) => Promise<string>;
}

/** A server with the built dashboard and a browser, there from the first test of a `describe` to its last. */
export function testDashboard(
  options: TestServerOptions | (() => TestServerOptions) = {},
  prepare: (dashboard: TestDashboard) => Promise<void> = () => Promise.resolve(),
): TestDashboard {
  const parts = {} as Pick<TestDashboard, "running" | "browser">;
  const dashboard: TestDashboard = {
    get running() {
      return parts.running;
    },
    get browser() {
      return parts.browser;
    },
    open: (path, more) => openPage(parts.browser, parts.running.server, path, more),
    submit: async (spec) =>
      ((await (await parts.running.ask("/api/jobs", { body: spec })).json()) as { id: string }).id,
  };
  beforeAll(async () => {
    const given = typeof options === "function" ? options() : options;
    parts.running = await startTestServer({ dashboard: DASHBOARD, ...given });
    parts.browser = await launch();
    await prepare(dashboard);
  });
  afterAll(async () => {
    await parts.browser.close();
    await parts.running[Symbol.asyncDispose]();
  });
  return dashboard;
}
