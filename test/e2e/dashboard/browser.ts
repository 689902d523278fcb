import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium, type Browser, type BrowserContextOptions, type Page } from "playwright-core";
import { expect } from "vitest";
import { packageRoot } from "../../../src/runner/package-root.js";

const CHROMIUM = process.env["KITTY_KV_CHROMIUM"] ?? "/usr/bin/chromium";
const ARTIFACTS = join(packageRoot(), "test-artifacts", "dashboard");
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** The dashboard as `npm run build` leaves it. */
export const DASHBOARD = join(packageRoot(), "dist", "dashboard");

export const DESKTOP = { width: 1440, height: 900 };
export const PHONE = { width: 390, height: 844 };

/** Why tests in a browser cannot run here, or undefined when they can. */
export function whyNoBrowser(): string | undefined {
  return existsSync(CHROMIUM) ? undefined : `there is no ${CHROMIUM}`;
}

export function launch(): Promise<Browser> {
  const quiet = ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"];
  return chromium.launch({
    executablePath: CHROMIUM,
    // Root has no sandbox to give, as on a CI machine; what is loaded is our own page.
    args: ["--no-sandbox", "--disable-gpu", "--disable-sync", ...quiet],
  });
}

/** A page of its own, signed in; what its console says is an error of the test. */
export async function openPage(
  browser: Browser,
  { url, token }: { url: string; token: string },
  path: string,
  options: BrowserContextOptions & { allowed?: RegExp } = {},
): Promise<Page> {
  const { allowed, ...context } = options;
  const page = await (await browser.newContext({ viewport: DESKTOP, colorScheme: "light", ...context })).newPage();
  const problems: string[] = [];
  problemsOf.set(page, problems);
  const note = (text: string): void => {
    if (allowed?.test(text) !== true) problems.push(text);
  };
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") note(message.text());
  });
  page.on("pageerror", (error) => {
    note(error.message);
  });
  page.on("dialog", (dialog) => {
    note(`a dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  await page.goto(`${url}${path}#token=${token}`);
  return page;
}

const problemsOf = new WeakMap<Page, string[]>();

/** Closes a page, which must have had nothing to complain of. */
export async function closePage(page: Page): Promise<void> {
  await page.context().close();
  expect(problemsOf.get(page)).toEqual([]);
}

/** What axe finds on a page, as sentences; all of its rules. */
export async function findBarriers(page: Page): Promise<string[]> {
  await page.evaluate(AXE);
  return await page.evaluate(async () => {
    const { axe } = window as unknown as {
      axe: { run: () => Promise<{ violations: { id: string; help: string; nodes: { html: string }[] }[] }> };
    };
    const { violations } = await axe.run();
    return violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ html }) => html).join(" ")}`);
  });
}

/** Pages by name, each on a desk and on a phone: no barrier that axe knows, nothing wider than the screen, and a picture kept. */
export async function inspectPages(
  open: (options: BrowserContextOptions) => Promise<Page>,
  theme: "light" | "dark",
  pages: readonly [name: string, path: string, ready: RegExp][],
): Promise<void> {
  for (const [size, viewport] of [
    ["desk", DESKTOP],
    ["phone", PHONE],
  ] as const) {
    const page = await open({ viewport, colorScheme: theme });
    for (const [name, path, ready] of pages) {
      await goTo(page, path);
      await page.getByText(ready).first().waitFor();
      expect([name, size, await findBarriers(page)]).toEqual([name, size, []]);
      const width = await page.evaluate(() => document.documentElement.scrollWidth);
      expect([name, size, width]).toEqual([name, size, viewport.width]);
      await screenshot(page, `${name}-${size}-${theme}`);
    }
    await closePage(page);
  }
}

/** Inside the page, as a link does it. */
export async function goTo(page: Page, path: string): Promise<void> {
  await page.evaluate((address) => {
    history.pushState(undefined, "", address);
    dispatchEvent(new PopStateEvent("popstate"));
  }, path);
}

/** Kept as an artifact of the tests. */
export async function screenshot(page: Page, name: string): Promise<void> {
  mkdirSync(ARTIFACTS, { recursive: true });
  await page.screenshot({ path: join(ARTIFACTS, `${name}.png`), fullPage: true });
}
