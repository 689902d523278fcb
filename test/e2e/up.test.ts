import { once } from "node:events";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { execa } from "execa";
import OpenAI from "openai";
import { afterAll, beforeAll, expect, test } from "vitest";

const CLI = join(import.meta.dirname, "../../dist/cli/main.js");
let home: string;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), "kitty-up-"));
});
afterAll(() => rm(home, { recursive: true, force: true }));

function up(args: string[], env: Record<string, string> = {}) {
  return execa(process.execPath, [CLI, "up", ...args], {
    ...{ reject: false, input: "", env: { KITTY_KV_HOME: home, KITTY_KV_TOKEN: "", ...env } },
  });
}

test("up --json prints one line with address and token, and serves until Ctrl-C", async () => {
  const running = up(["--port", "0", "--json"]);
  const [line] = (await once(createInterface(running.stdout), "line")) as [string];
  const { url, token, ...rest } = JSON.parse(line) as { url: string; token: string };
  expect(rest).toEqual({});
  expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  expect((await stat(join(home, "token"))).mode & 0o777).toBe(0o600);
  expect((await fetch(`${url}/readyz`)).status).toBe(200);
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: token });
  const { choices } = await client.completions.create({ model: "kitty-tiny", prompt: "Once", max_tokens: 3 });
  expect(choices).toHaveLength(1);
  // A second one finds the port taken.
  const second = await up(["--port", new URL(url).port, "--json"]);
  expect(second.exitCode).toBe(1);
  expect(JSON.parse(second.stdout)).toMatchObject({ error: { code: "address_in_use" } });
  running.kill("SIGINT");
  const { exitCode, stdout } = await running;
  expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: line });
});

test("up refuses an address that others reach without a token that somebody chose", async () => {
  const { exitCode, stderr } = await up(["--host", "0.0.0.0", "--port", "0"]);
  expect(exitCode).toBe(2);
  expect(stderr).toMatch(/Cannot listen on "0\.0\.0\.0"[^\n]*KITTY_KV_TOKEN[^\n]*TLS[^\n]*$/);
});

test("up with a token of its own listens there, under it", async () => {
  const token = "a-token-that-somebody-chose";
  const running = up(["--host", "0.0.0.0", "--port", "0", "--json"], { KITTY_KV_TOKEN: token });
  const [line] = (await once(createInterface(running.stdout), "line")) as [string];
  const { url, token: printed } = JSON.parse(line) as { url: string; token: string };
  expect(printed).toBe(token);
  const address = url.replace("0.0.0.0", "127.0.0.1");
  expect((await fetch(`${address}/api/system`, { headers: { authorization: `Bearer ${token}` } })).status).toBe(200);
  running.kill("SIGTERM");
  expect((await running).exitCode).toBe(0);
});
