import { afterAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { temporaryFolder } from "../../scripts/temporary-folder.js";
import { slow, slurmConfig } from "../../src/slurm/slurm-config.js";
import { testCluster } from "../../src/slurm/test-cluster.js";
import { closePage, inspectPages, screenshot } from "./browser.js";
import { dashboardProblem, testDashboard } from "./test-dashboard.js";

const cluster = testCluster({ nodes: 4 });
const problem = dashboardProblem ?? cluster.problem;
const POLL = { timeout: 30_000, interval: 200 };
const HOSTILE = '<img src=x onerror="window.hit=1">';

describe.skipIf(problem !== undefined)("the cluster in the dashboard", () => {
  const shared = temporaryFolder();
  afterAll(() => {
    shared[Symbol.dispose]();
  });
  const dashboard = testDashboard({
    isLoaded: false,
    config: slurmConfig(shared.path, { arrayParallel: 2, container: "none" }),
  });

  /** Tasks of one's own beside what the orchestrator submits, gone after the test. */
  function sbatch(...args: string[]): string {
    const id = cluster.run("sbatch", "--parsable", "--output=/dev/null", ...args, "--wrap=sleep 300").trim();
    onTestFinished(() => {
      cluster.run("scancel", id);
    });
    return id;
  }

  beforeEach(async () => {
    await expect.poll(() => cluster.run("sinfo", "-h", "-t", "idle", "-p", "debug", "-o", "%D").trim(), POLL).toBe("4");
  });

  async function submitSweep(): Promise<string> {
    const base = { kind: "generate", params: slow(24).params };
    const matrix = { maxNewTokens: [1, 2, 3, 4, 5] };
    const sweep = await dashboard.submit({ kind: "sweep", name: "Five of an array", params: { base, matrix } });
    onTestFinished(async () => {
      await dashboard.running.kitty.jobs.service.cancel(sweep);
      await dashboard.running.kitty.jobs.service.wait(sweep);
    });
    return sweep;
  }

  test("shows what runs where, why the rest waits and when it is expected to start, and sweeps as they go on", async () => {
    await submitSweep();
    const page = await dashboard.open("/jobs");
    await page.getByRole("link", { name: "Cluster" }).click();
    const mine = page.getByRole("region", { name: "My jobs in the queue" });
    const job = (name: string) => mine.getByRole("listitem").filter({ hasText: name });
    const own = job("5 tasks");
    await own.getByRole("link", { name: "Five of an array" }).waitFor();
    await own.getByText(/^2 run on n\d/).waitFor();
    await own.getByText("waiting for other tasks of its array, of which only so many run at once").waitFor();
    const sweeps = page.getByRole("region", { name: "Sweeps" });
    await sweeps.getByText("5 children").waitFor();
    await sweeps.getByText("2 running").waitFor();
    await sweeps.getByText("3 waiting").waitFor();
    await own.getByRole("link", { name: "Five of an array" }).click();
    const queue = page.getByRole("region", { name: "In Slurm's queue" });
    await queue.getByText("waiting for other tasks of its array, of which only so many run at once").waitFor();
    await screenshot(page, "job-in-queue");
    await queue.getByRole("link", { name: "The cluster" }).click();
    sbatch("--job-name=holds-gpus", "--array=0-3", "--gres=gpu:toy:1", "--time=10");
    await job("holds-gpus").getByText("4 run on").waitFor();
    sbatch("--job-name=wants-gpus", "--gres=gpu:toy:1", "--nodes=2", "--time=5");
    sbatch("--job-name=later", "--begin=now+1hour");
    sbatch("--job-name=held", "--hold");
    await job("wants-gpus").getByText("waiting for nodes, CPUs, memory or GPUs to become free").waitFor();
    const later = job("later").getByText(/expected to start in (1 h|5\d min)/);
    await later.waitFor();
    await job("held").getByText("Held by its user; scontrol release lets it go on").waitFor();
    await screenshot(page, "cluster-busy");
    const whole = page.getByRole("region", { name: "The whole cluster" });
    expect(await whole.innerText()).toMatch(/Free GPUs\s+0\s+of 4/);
    const debug = page.getByRole("row", { name: /^debug/ });
    expect(await debug.innerText()).toMatch(/default\s+0 of 4 · toy/);
    expect(await page.getByRole("row", { name: /^short/ }).innerText()).toMatch(/1 min$/);
    await closePage(page);
  });

  test("names nodes that are down with the reason, as text, and finds those that are wanted", async () => {
    cluster.run("scontrol", "update", "nodename=n4", "state=drain", `reason=${HOSTILE}`);
    onTestFinished(() => {
      cluster.run("scontrol", "update", "nodename=n4", "state=resume");
    });
    const page = await dashboard.open("/cluster");
    const nodes = page.getByRole("region", { name: "Nodes" });
    await nodes.getByText(HOSTILE, { exact: false }).waitFor();
    expect(await nodes.getByRole("listitem").count()).toBe(4);
    await nodes.getByLabel("Which nodes").selectOption("down");
    expect(await nodes.getByRole("listitem").allInnerTexts()).toEqual([expect.stringMatching(/^n4\s+drain/)]);
    await nodes.getByLabel("Which nodes").selectOption("free");
    expect(await nodes.getByRole("listitem").count()).toBe(3);
    expect(await page.locator("img").count()).toBe(0);
    expect(await page.getByText("of 4, 1 down").count()).toBe(1);
    await closePage(page);
  });

  for (const theme of ["light", "dark"] as const) {
    test(`has no barrier that axe knows, and stays in its width, in ${theme}, on a desk and on a phone`, async () => {
      const name = "one with a long name that nobody would choose but a script which puts all parameters into it";
      sbatch(`--job-name=${name}`, "--array=0-9%2", "--gres=gpu:toy:1");
      await inspectPages((options) => dashboard.open("/", options), theme, [["cluster", "/cluster", /2 run on/]]);
    }, 120_000);
  }

  test("while Slurm does not answer it says so, and keeps what was seen last", async () => {
    const page = await dashboard.open("/cluster", { allowed: /503/ });
    await page.getByRole("region", { name: "Nodes" }).waitFor();
    cluster.command("stop-ctld");
    onTestFinished(() => {
      cluster.command("start-ctld");
    });
    await page.getByText(/Cannot look at the cluster.*What is below was seen before that/).waitFor({ timeout: 60_000 });
    expect(await page.getByRole("region", { name: "Nodes" }).getByRole("listitem").count()).toBe(4);
    await closePage(page);
  });
});
