import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Check } from "../../../src/cli/doctor/check.js";
import { Kitty, type Config, type ConfigInput } from "../../../src/index.js";
import { serve, type KittyServer } from "../../../src/server/serve.js";
import { TEST_MODEL } from "../real-worker.js";

export interface TestServer extends AsyncDisposable {
  server: KittyServer;
  kitty: Kitty;
  /** A request with the token; a body is sent as JSON unless it is text already. */
  ask: (
    path: string,
    init?: { method?: string; body?: unknown; headers?: Record<string, string> },
  ) => Promise<Response>;
  defects: unknown[];
}

export interface TestServerOptions {
  /** The folder of a built dashboard. */
  dashboard?: string;
  config?: ConfigInput;
  isLoaded?: boolean;
  checkMachine?: (config: Config) => Promise<Check[]>;
  /** Fills the home before the server starts. */
  prepare?: (home: string) => void;
}

/** A server on a port of its own with a real worker, and a home of its own. */
export async function startTestServer({
  config = {},
  isLoaded = true,
  dashboard,
  checkMachine,
  prepare = () => undefined,
}: TestServerOptions = {}): Promise<TestServer> {
  const home = await mkdtemp(join(tmpdir(), "kitty-server-"));
  const before = process.env["KITTY_KV_HOME"];
  process.env["KITTY_KV_HOME"] = home;
  prepare(home);
  const defects: unknown[] = [];
  const kitty = await Kitty.start({ config: { model: TEST_MODEL, ...config, server: { port: 0, ...config.server } } });
  const server = await serve(kitty, {
    ...{ version: "0.0.0-test", onDefect: (error) => defects.push(error), dashboard },
    ...(checkMachine === undefined ? {} : { checkMachine: () => checkMachine(kitty.config) }),
  });
  if (isLoaded) await server.model.load();
  return {
    server,
    kitty,
    defects,
    ask: (path, { method, body, headers = {} } = {}) =>
      fetch(`${server.url}${path}`, {
        method: method ?? (body === undefined ? "GET" : "POST"),
        headers: { authorization: `Bearer ${server.token}`, ...headers },
        ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
      }),
    [Symbol.asyncDispose]: async () => {
      await server.close();
      await kitty.close();
      if (before === undefined) delete process.env["KITTY_KV_HOME"];
      else process.env["KITTY_KV_HOME"] = before;
      await rm(home, { recursive: true, force: true });
    },
  };
}
