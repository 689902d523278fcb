import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { execa } from "execa";
import { expect, onTestFinished, test } from "vitest";
import { Kitty } from "../../src/index.js";
import { temporaryFolder } from "../scripts/temporary-folder.js";
import { fixturePath } from "../src/fixture-worker.js";

const CLI = join(import.meta.dirname, "../../dist/cli/main.js");

test(
  "who waits for a job of a server sees its end, though the server is killed and started anew meanwhile",
  { timeout: 60_000 },
  async () => {
    const home = temporaryFolder();
    onTestFinished(() => {
      home[Symbol.dispose]();
    });
    const env = { KITTY_KV_HOME: home.path, KITTY_KV_TOKEN: "", KITTY_KV_PYTHON: fixturePath("good_worker") };
    const up = async (port: string) => {
      const running = execa(process.execPath, [CLI, "up", "--port", port, "--json"], { reject: false, input: "", env });
      onTestFinished(() => void running.kill("SIGKILL"));
      const [line] = (await once(createInterface(running.stdout), "line")) as [string];
      return { running, address: JSON.parse(line) as { url: string; token: string } };
    };
    const first = await up("0");
    await using kitty = await Kitty.connect(first.address);
    const session = await kitty.sessions.open();
    const prompts = Array.from({ length: 40 }, () => "x");
    const params = { prompts, maxNewTokens: 5000, concurrency: 1 };
    const job = await kitty.jobs.submit({ kind: "generate", params });
    const states: unknown[] = [];
    const following = (async () => {
      for await (const { type, data } of job.events()) if (type === "job.state") states.push(data["state" as never]);
    })();
    const waiting = job.wait();
    await expect.poll(async () => (await job.refresh()).progress?.done ?? 0, { timeout: 20_000 }).toBeGreaterThan(3);
    first.running.kill("SIGKILL");
    await first.running;
    const second = await up(new URL(first.address.url).port);
    expect(second.address).toEqual(first.address);
    expect(await waiting).toMatchObject({ state: "succeeded", attempt: 2, lostAttempts: 1 });
    await following;
    expect(states).toEqual(["queued", "starting", "running", "queued", "starting", "running", "succeeded"]);
    const lines = (await text(await job.openFile("results.jsonl"))).trim().split("\n");
    expect(lines).toHaveLength(prompts.length);
    // What lived in the worker is gone, and says so.
    await expect(session.memory()).rejects.toMatchObject({ code: "session_not_found" });
    const types = (await kitty.jobs.events.page(0, 1000)).map(({ type }) => type);
    expect(types.filter((type) => type === "orchestrator.started")).toHaveLength(2);
    second.running.kill("SIGINT");
    expect((await second.running).exitCode).toBe(0);
  },
);
