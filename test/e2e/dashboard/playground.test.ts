import { describe, expect, test } from "vitest";
import { closePage, screenshot } from "./browser.js";
import { dashboardProblem, testDashboard } from "./test-dashboard.js";

describe.skipIf(dashboardProblem !== undefined)("the playground", () => {
  const dashboard = testDashboard();

  async function openSessions(): Promise<{ id: string }[]> {
    return ((await (await dashboard.running.ask("/api/sessions")).json()) as { sessions: { id: string }[] }).sessions;
  }

  test("streams one prompt under two presets, says what each costs, and saves, restores and forks", async () => {
    const page = await dashboard.open("/playground");
    const [left, right] = [
      page.getByRole("region", { name: "Left session" }),
      page.getByRole("region", { name: "Right session" }),
    ];
    await page.getByLabel("New tokens").fill("300");
    await page.getByRole("button", { name: "Generate" }).click();
    // Text comes while it is being written.
    await left.getByText("writing …").waitFor();
    const text = (): Promise<string> => left.getByRole("log").innerText();
    await expect.poll(async () => (await text()).length).toBeGreaterThan(40);
    expect(await page.getByRole("button", { name: "Stop" }).isVisible()).toBe(true);
    await page.getByRole("button", { name: "Stop" }).waitFor({ state: "detached" });
    for (const pane of [left, right]) {
      await pane.getByText("300 tokens", { exact: true }).waitFor();
      expect(await pane.innerText()).toMatch(/[\d.]+\s*tokens\/s[^]*[\d.]+\s*ms[^]*[\d.]+ (KiB|MiB) at 16 bits/);
    }
    await page.getByText(/kitty-pro keeps a token in .* fp16 in .* \d+% less memory/).waitFor();
    await screenshot(page, "playground-written");

    const [file] = await Promise.all([
      page.waitForEvent("download"),
      left.getByRole("button", { name: "Save" }).click(),
    ]);
    const path = await file.path();
    await right.getByLabel("Restore the right session from a file").setInputFiles(path);
    await right.getByText("restored from").first().waitFor();
    expect(await right.getByRole("combobox").inputValue()).toBe("kitty-pro");

    await left.getByRole("button", { name: "Fork to the other side" }).click();
    await right.getByText(/fork of/).waitFor();
    expect(await right.getByRole("log").innerText()).toBe(await text());
    // Both go on from the same text with the same preset, so they say the same.
    await page.getByLabel(/^Prompt/).fill(" And then");
    await page.getByLabel("New tokens").fill("12");
    await page.getByRole("button", { name: "Generate" }).click();
    await right.getByText("12 tokens", { exact: true }).waitFor();
    await left.getByText("12 tokens", { exact: true }).waitFor();
    expect(await right.getByRole("log").innerText()).toBe(await text());
    expect(await openSessions()).toHaveLength(2);
    await closePage(page);
    await expect.poll(openSessions).toHaveLength(0);
  });

  test("stops within a moment, and says why where it cannot write", async () => {
    const page = await dashboard.open("/playground", { allowed: /404/ });
    await page.getByLabel("New tokens").fill("5000");
    await page.getByRole("button", { name: "Generate" }).click();
    await page.getByRole("region", { name: "Left session" }).getByText("writing …").waitFor();
    await page.getByRole("button", { name: "Stop" }).click();
    await page.getByRole("button", { name: "Stop" }).waitFor({ state: "detached" });
    for (const { id } of await openSessions()) await dashboard.running.ask(`/api/sessions/${id}`, { method: "DELETE" });
    await page.getByLabel("New tokens").fill("4");
    await page.getByRole("button", { name: "Generate" }).click();
    await page
      .getByText(/Cannot find session/)
      .first()
      .waitFor();
    await page.getByRole("button", { name: "Generate" }).click();
    await page.getByText("4 tokens", { exact: true }).nth(1).waitFor();
    await closePage(page);
  });
});
