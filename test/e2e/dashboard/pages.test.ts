import { describe, expect, test } from "vitest";
import { runChecks } from "../../../src/cli/doctor/run-checks.js";
import { closePage, findBarriers, goTo, inspectPages } from "./browser.js";
import { dashboardProblem, testDashboard } from "./test-dashboard.js";

const HOSTILE = `<img src=x onerror="window.hit=1"><script>window.hit=2</script>"'\u202e`;

describe.skipIf(dashboardProblem !== undefined)("every page of the dashboard", () => {
  let job: string;
  let sweep: string;
  const dashboard = testDashboard({ checkMachine: runChecks }, async ({ submit, running }) => {
    job = await submit({ kind: "generate", name: HOSTILE, params: { prompts: [HOSTILE], maxNewTokens: 8 } });
    const base = { kind: "generate", params: { prompts: ["The cat"] } };
    sweep = await submit({ kind: "sweep", name: "Tokens", params: { base, matrix: { maxNewTokens: [4, 8, 12] } } });
    await Promise.all([job, sweep].map((id) => running.kitty.jobs.service.wait(id)));
    const { id } = (await (await running.ask("/api/sessions", { body: {} })).json()) as { id: string };
    await running.ask(`/api/sessions/${id}/generate`, { body: { prompt: HOSTILE, maxNewTokens: 16 } });
  });

  /** Each page's address, its heading, and a text that is there once it has what it shows. */
  function pages(): [name: string, path: string, ready: RegExp][] {
    return [
      ["overview", "/", /Sessions/],
      ["jobs", "/jobs", /Submitted/],
      ["new-job", "/jobs/new", /The orchestrator takes this spec./],
      ["job", `/jobs/${job}`, /Conditions|Result/],
      ["sweep", `/jobs/${sweep}`, /3 children/],
      ["compare", `/compare?ids=${job},${sweep}`, /Only what differs/],
      ["playground", "/playground", /Generate/],
      ["instances", "/instances", /No Apptainer instance runs/],
      ["no-cluster", "/cluster", /Jobs here do not run on a cluster/],
      ["system", "/system", /bundled model/],
      ["unknown-job", "/jobs/nothing", /Cannot find job/],
    ];
  }

  for (const theme of ["light", "dark"] as const) {
    test(`has no barrier that axe knows, and stays in its width, in ${theme}, on a desk and on a phone`, async () => {
      await inspectPages((options) => dashboard.open("/", { ...options, allowed: /404/ }), theme, pages());
    }, 180_000);
  }

  test("shows hostile names, prompts and logs as text", async () => {
    const page = await dashboard.open(`/jobs/${job}`);
    await page.getByRole("heading", { level: 1, name: "<img src=x" }).waitFor();
    await page.getByText("window.hit=2").first().waitFor();
    for (const path of ["/jobs", "/", `/compare?ids=${job}`]) {
      await goTo(page, path);
      await expect.poll(() => page.content()).toContain("&lt;img");
    }
    expect(await page.evaluate(() => (window as { hit?: number }).hit)).toBeUndefined();
    expect(await page.locator("img, main script").count()).toBe(0);
    await closePage(page);
  });

  test("takes the token out of the address, keeps it in no link, and asks for it where there is none", async () => {
    const page = await dashboard.open("/jobs?q=cat", { allowed: /401/ });
    await page.getByText("jobs").first().waitFor();
    expect(await page.evaluate(() => location.href)).toBe(`${dashboard.running.server.url}/jobs?q=cat`);
    expect(await page.content()).not.toContain(dashboard.running.server.token);
    await page.evaluate(() => {
      localStorage.clear();
    });
    await page.reload();
    await page.getByLabel("Token").fill("a-token-of-another-server");
    await page.getByRole("button", { name: "Open the dashboard" }).click();
    await page.getByText("does not take this token").waitFor();
    expect(await findBarriers(page)).toEqual([]);
    await page.getByLabel("Token").fill(dashboard.running.server.token);
    await page.getByRole("button", { name: "Open the dashboard" }).click();
    await page.getByRole("heading", { name: "Jobs" }).waitFor();
    await closePage(page);
  });

  test("forbids inline scripts, and lets a page of somebody else neither read nor write", async () => {
    const response = await fetch(dashboard.running.server.url);
    const policy = response.headers.get("content-security-policy") ?? "";
    expect(policy).toMatch(/default-src 'none'.*script-src 'self'/);
    expect(policy).not.toContain("unsafe");
    const page = await (await dashboard.browser.newContext()).newPage();
    await page.goto("data:text/html,<p>somebody else");
    const outcome = await page.evaluate(
      async ([url, token]) => {
        const headers = { authorization: `Bearer ${token}` };
        const read = await fetch(`${url}/api/jobs`, { headers }).then(String, () => "refused");
        const write = await fetch(`${url}/api/jobs`, {
          method: "POST",
          mode: "no-cors",
          body: '{"kind":"generate"}',
        }).then(String, () => "refused");
        const socket = await new Promise((resolve) => {
          const events = new WebSocket(`${url.replace("http", "ws")}/api/events`, [
            "kitty-kv.events",
            `kitty-kv.token.${btoa(token).replace(/=+$/, "")}`,
          ]);
          events.onopen = () => {
            resolve("open");
          };
          events.onerror = () => {
            resolve("refused");
          };
        });
        return { read, write, socket };
      },
      [dashboard.running.server.url, dashboard.running.server.token] as const,
    );
    expect(outcome).toMatchObject({ read: "refused", socket: "refused" });
    const { jobs } = (await (await dashboard.running.ask("/api/jobs")).json()) as { jobs: unknown[] };
    expect(jobs).toHaveLength(5);
    await page.context().close();
  });

  test("has no page of a cluster in its navigation where there is none", async () => {
    const page = await dashboard.open("/cluster");
    await page.getByText("Jobs here do not run on a cluster").waitFor();
    const links = await page.getByRole("navigation", { name: "Pages" }).getByRole("link").allInnerTexts();
    expect(links).toEqual(["Overview", "Jobs", "Playground", "Instances", "System"]);
    await closePage(page);
  });

  test("can be used with the keyboard alone", async () => {
    const page = await dashboard.open("/jobs");
    await page.getByRole("table").waitFor();
    await page.keyboard.press("Tab");
    expect(await page.evaluate(() => document.activeElement?.textContent)).toContain("Skip to content");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    expect(await page.evaluate(() => document.activeElement?.textContent)).toBe("Report");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "New job" }).waitFor();
    await closePage(page);
  });
});
