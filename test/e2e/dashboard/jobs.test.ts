import { readFile } from "node:fs/promises";
import type { Page } from "playwright-core";
import { describe, expect, test } from "vitest";
import { closePage, openPage, screenshot } from "./browser.js";
import { FlakyNetwork } from "./flaky-network.js";
import { dashboardProblem, testDashboard } from "./test-dashboard.js";

/** Long enough to be looked at while it runs. */
const LONG = { kind: "generate", params: { prompts: Array.from({ length: 200 }, () => "The cat"), maxNewTokens: 200 } };
const SHORT = { kind: "generate", params: { prompts: ["The cat"], maxNewTokens: 4 } };

describe.skipIf(dashboardProblem !== undefined)("jobs in the dashboard", () => {
  const dashboard = testDashboard();

  const row = (page: Page, name: string) => page.getByRole("row").filter({ hasText: name });

  test("one is submitted from the form, watched, cancelled and retried", async () => {
    const page = await dashboard.open("/jobs/new", { allowed: /400/ });
    await page.getByText("The orchestrator takes this spec.").waitFor();
    await page.getByLabel("Name", { exact: true }).fill("From the form");
    await page.getByLabel("Prompts", { exact: true }).fill("The cat\n".repeat(200));
    // Wrong input is said at the field, by the page and by the server alike.
    await page.getByLabel("Max new tokens").fill("many");
    await page.getByText("Must be a number.").waitFor();
    await page.getByLabel("Max new tokens").fill("200");
    await page.getByText("Cache, resources, retries and order").click();
    await page.getByLabel("Gpus").fill("9");
    await page.getByText("resources.gpus is 9, this orchestrator has 0").first().waitFor();
    await expect.poll(() => page.getByRole("button", { name: "Submit job" }).isDisabled()).toBe(true);
    await page.getByLabel("Gpus").fill("");
    await page.getByRole("button", { name: "Submit job" }).click();
    await page.getByRole("heading", { level: 1, name: "From the form" }).waitFor();
    await page.getByText("200 prompts, 0 of them done before").waitFor();
    await page.getByText(/\d+% · .* left/).waitFor();
    await screenshot(page, "running-job");
    await page.getByRole("button", { name: "Cancel" }).click();
    await page.getByRole("button", { name: "Retry" }).waitFor();
    const id = new URL(page.url()).pathname.split("/").at(-1) ?? "";
    expect((await dashboard.running.kitty.jobs.service.get(id)).state).toBe("cancelled");
    await page.getByRole("button", { name: "Retry" }).click();
    await page.getByText("attempt 2", { exact: true }).first().waitFor();
    await page.getByRole("button", { name: "Cancel" }).click();
    await page.getByRole("button", { name: "Retry" }).waitFor();
    await closePage(page);
  });

  test("one is submitted as YAML, whose mistakes are named with their lines", async () => {
    const page = await dashboard.open("/jobs/new", { allowed: /400/ });
    await page.getByRole("radio", { name: "YAML" }).check();
    const editor = page.getByLabel("Spec as YAML");
    await editor.fill("kind: generate\nparams: { maxNewToken: 4 }\n");
    await page.getByText('did you mean "maxNewTokens"?').waitFor();
    await editor.fill("kind: generate\nname: [\n");
    await page.getByText(/line \d/).waitFor();
    await editor.fill("kind: generate\nname: From YAML\nparams: { prompts: [The cat], maxNewTokens: 4 }\n");
    await page.getByText("The orchestrator takes this spec.").waitFor();
    await page.getByRole("button", { name: "Submit job" }).click();
    await page.getByText("succeeded", { exact: true }).first().waitFor();
    await page.getByText("Completion tokens").waitFor();
    await page.getByText("2 files in the job's folder").click();
    const [file] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("button", { name: "results.jsonl" }).click(),
    ]);
    expect(await readFile(await file.path(), "utf8")).toContain('"completionTokens":4');
    await closePage(page);
  });

  test("many are found by search, chosen and cancelled at once, with the search in the address", async () => {
    const ids = await Promise.all(
      [1, 2, 3].map((index) => dashboard.submit({ ...LONG, name: `Bulk ${String(index)}` })),
    );
    const page = await dashboard.open("/jobs");
    await page.getByLabel("Search names, ids and errors").fill("bulk");
    await expect.poll(() => page.getByRole("row").count()).toBe(4);
    expect(page.url()).toContain("q=bulk");
    await page.reload();
    await expect.poll(() => page.getByRole("row").count()).toBe(4);
    await page.getByLabel("Choose all that are shown").check();
    await page.getByRole("button", { name: "Cancel 3" }).click();
    await expect
      .poll(() => page.getByRole("row").filter({ hasText: "cancelled" }).count(), { timeout: 20_000 })
      .toBe(3);
    for (const id of ids) expect((await dashboard.running.kitty.jobs.service.get(id)).state).toBe("cancelled");
    await closePage(page);
  });

  test("two are compared: what differs in what they were told and what they found", async () => {
    const specs = [4, 12].map((maxNewTokens) => ({
      ...SHORT,
      name: `Of ${String(maxNewTokens)}`,
      params: { ...SHORT.params, maxNewTokens },
    }));
    const ids = await Promise.all(specs.map(dashboard.submit));
    await Promise.all(ids.map((id) => dashboard.running.kitty.jobs.service.wait(id)));
    const page = await dashboard.open("/jobs?q=Of&sort=name.asc");
    await row(page, "Of 4").getByRole("checkbox").check();
    await row(page, "Of 12").getByRole("checkbox").check();
    await page.getByRole("button", { name: "Compare" }).click();
    await expect
      .poll(() => page.getByRole("row", { name: /Params · max new tokens/ }).allInnerTexts())
      .toEqual([expect.stringMatching(/4\s+12|12\s+4/)]);
    await page.getByRole("row", { name: /Completion tokens/ }).waitFor();
    expect(await page.getByRole("row", { name: /Prompt tokens/ }).count()).toBe(0);
    await closePage(page);
  });

  test("what happens while the network is cut is there when it is back, each thing once", async () => {
    await using network = await FlakyNetwork.to(dashboard.running.server.url);
    const reached = { url: network.url, token: dashboard.running.server.token };
    const page = await openPage(dashboard.browser, reached, "/jobs?q=Cut", {
      allowed: /Failed to load resource|WebSocket/,
    });
    await page.getByText("Live", { exact: true }).waitFor();
    network.cut();
    await page.getByText("Offline", { exact: true }).waitFor();
    const ids = await Promise.all([1, 2].map((index) => dashboard.submit({ ...SHORT, name: `Cut ${String(index)}` })));
    await Promise.all(ids.map((id) => dashboard.running.kitty.jobs.service.wait(id)));
    network.mend();
    await page.getByText("Live", { exact: true }).waitFor();
    await expect.poll(() => page.getByRole("row").filter({ hasText: "succeeded" }).count()).toBe(2);
    await closePage(page);
  });

  test("where WebSockets do not get through, the page asks instead", async () => {
    await using network = await FlakyNetwork.to(dashboard.running.server.url);
    network.blocksWebSockets = true;
    const reached = { url: network.url, token: dashboard.running.server.token };
    const page = await openPage(dashboard.browser, reached, "/jobs?q=Asked", { allowed: /WebSocket/ });
    await page.getByText("Polling", { exact: true }).waitFor();
    await dashboard.submit({ ...SHORT, name: "Asked for" });
    await row(page, "Asked for").filter({ hasText: "succeeded" }).waitFor();
    await closePage(page);
  });

  test("a connection that died in a machine's sleep is noticed when the page is shown again", async () => {
    await using network = await FlakyNetwork.to(dashboard.running.server.url);
    const reached = { url: network.url, token: dashboard.running.server.token };
    const page = await openPage(dashboard.browser, reached, "/jobs?q=Slept", {
      allowed: /Failed to load resource|WebSocket/,
    });
    await page.getByText("Live", { exact: true }).waitFor();
    network.freeze();
    const id = await dashboard.submit({ ...SHORT, name: "Slept through" });
    await dashboard.running.kitty.jobs.service.wait(id);
    await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
    await row(page, "Slept through").filter({ hasText: "succeeded" }).waitFor();
    await closePage(page);
  });
});
