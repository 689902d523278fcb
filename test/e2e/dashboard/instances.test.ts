import { afterAll, describe, expect, test } from "vitest";
import { stopInstances } from "../../../src/apptainer/stop-instances.js";
import { instanceHome } from "../../src/apptainer/test-overlay.js";
import { closePage, inspectPages } from "./browser.js";
import { dashboardProblem, testDashboard } from "./test-dashboard.js";

const { problem, home, place } = instanceHome();
const reason = dashboardProblem ?? problem;

describe.skipIf(reason !== undefined)("instances in the dashboard", () => {
  // The overlay is there only when tests begin.
  const dashboard = testDashboard(() => ({ isLoaded: false, config: { apptainer: place } }));
  afterAll(async () => {
    await stopInstances("all");
    home[Symbol.dispose]();
  });

  async function names(): Promise<string[]> {
    const { instances } = (await (await dashboard.running.ask("/api/instances")).json()) as {
      instances: { name: string }[];
    };
    return instances.map(({ name }) => name);
  }

  test("one is shown with its log, restarted by a click, and stopped by another", { timeout: 180_000 }, async () => {
    const started = await dashboard.running.ask("/api/instances", { body: { count: 1, network: "host" } });
    expect([started.status, await started.json()]).toMatchObject([201, {}]);
    const [first = ""] = await names();
    const page = await dashboard.open("/instances");
    const card = (name: string) => page.getByRole("region", { name, exact: true });
    await card(first).getByText("ready", { exact: true }).waitFor();
    expect(await card(first).innerText()).toMatch(/Network\s+host/);
    await page.getByText(`run instance ${first}`).waitFor();

    await card(first).getByRole("button", { name: "Show the log" }).click();
    await card(first)
      .getByText(/a worker answered/)
      .waitFor();
    await card(first).getByRole("button", { name: "Hide the log" }).click();
    expect(
      await card(first)
        .getByText(/a worker answered/)
        .count(),
    ).toBe(0);
    for (const theme of ["light", "dark"] as const) {
      const open = (options: object) => dashboard.open("/", options);
      await inspectPages(open, theme, [["instance", "/instances", /ready/]]);
    }

    await card(first).getByRole("button", { name: "Restart" }).click();
    await page.getByText(`Instance ${first} is stopped, and `).waitFor({ timeout: 60_000 });
    const [second = "", ...more] = await names();
    expect([second !== first, more]).toEqual([true, []]);
    await card(second).getByText("ready", { exact: true }).waitFor();
    await card(first).waitFor({ state: "detached" });
    // On the same image and overlay, with the same network.
    expect(await card(second).innerText()).toMatch(/Network\s+host/);
    for (const path of Object.values(place)) await card(second).getByText(path, { exact: true }).waitFor();
    await card(second).getByRole("button", { name: "Show the log" }).click();
    await card(second)
      .getByText(/a worker answered/)
      .waitFor();

    await card(second).getByRole("button", { name: "Stop" }).click();
    await page.getByText(`Instance ${second} is stopped.`).waitFor();
    await page.getByText("No Apptainer instance runs").waitFor();
    expect(await names()).toEqual([]);
    expect(dashboard.running.defects).toEqual([]);
    await closePage(page);
  });
});
