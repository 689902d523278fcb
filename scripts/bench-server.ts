// What the HTTP server adds, on this machine: npx tsx scripts/bench-server.ts [--clients 200] [--events 2000] [--followers 20]
// The server is a process of its own. Figures that compare are of one run, taken in turns.
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { Agent, request } from "node:http";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import OpenAI from "openai";
import { WebSocket } from "ws";
import { Kitty, serve, type KittyEvent } from "../src/index.js";

// Answers with tokens as fast as Python writes them, so that what is between it and the reader is what takes time.
const FAST_WORKER = join(import.meta.dirname, "../test/fixtures/workers/good_worker.py");
const TOKENS = 20_000;
const ROUNDS = 5;
const EVENT_SECONDS = 5;
const PROMPT = "It was a bright cold day, and the old man went down to the";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    clients: { type: "string", default: "200" },
    events: { type: "string", default: "2000" },
    followers: { type: "string", default: "20" },
  },
});

if (positionals[0] === "serve") await serveForParent(positionals[1] ?? "");
else await measureAll();

interface Served extends AsyncDisposable {
  url: string;
  token: string;
  /** Has the server append so many events a second, evenly, for a while. */
  append: (perSecond: number, seconds: number) => Promise<void>;
}

async function measureAll(): Promise<void> {
  console.log(
    `${cpus()[0]?.model ?? ""}, ${String(cpus().length)} cores, load ${loadavg()[0]?.toFixed(1) ?? ""}, Node ${process.version}`,
  );
  if (positionals[0] !== "events") await measureOverhead();
  await measureEvents(Number(values.followers), Number(values.events));
  if (positionals[0] !== "events") await measureClients(Number(values.clients));
  console.log(`load at the end ${loadavg()[0]?.toFixed(1) ?? ""}`);
}

/** Wall time a token through the server, less that of the SDK in this process, in turns. */
async function measureOverhead(): Promise<void> {
  await using served = await start(FAST_WORKER);
  await using kitty = await Kitty.start({ config: { worker: { python: FAST_WORKER } } });
  await using session = await kitty.sessions.open();
  const client = new OpenAI({ baseURL: `${served.url}/v1`, apiKey: served.token, maxRetries: 0 });
  const ways: Record<string, () => Promise<number>> = {
    "the SDK, embedded": async () => {
      let tokens = 0;
      for await (const chunk of session.generate(PROMPT, { maxNewTokens: TOKENS })) tokens += chunk.tokens;
      return tokens;
    },
    "/v1/completions, read as bytes": () => countEvents(served),
    "/v1/completions, OpenAI's client": async () => {
      const body = { model: "fixture", prompt: PROMPT, max_tokens: TOKENS, stream: true } as const;
      let tokens = 0;
      for await (const { choices } of await client.completions.create(body)) {
        if ((choices[0]?.text ?? "") !== "") tokens += 1;
      }
      return tokens;
    },
  };
  const times = new Map<string, number[]>();
  for (let round = 0; round <= ROUNDS; round++) {
    for (const [name, way] of Object.entries(ways)) {
      const begun = performance.now();
      const tokens = await way();
      if (tokens !== TOKENS) throw new Error(`${name}: ${String(tokens)} of ${String(TOKENS)} tokens came`);
      // The first round warms up.
      if (round > 0) times.set(name, [...(times.get(name) ?? []), (performance.now() - begun) / TOKENS]);
    }
  }
  const base = median(times.get("the SDK, embedded") ?? []);
  for (const [name, found] of times) {
    const added = name === "the SDK, embedded" ? "" : `, ${(median(found) - base).toFixed(4)} ms more (wanted 0.2)`;
    console.log(`ms a token, ${name}: ${median(found).toFixed(4)}${added}`);
  }
}

/** Streams one completion and counts its chunks with text, with as little of a client as there can be. */
async function countEvents({ url, token }: Served): Promise<number> {
  const agent = new Agent();
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  const asked = request(`${url}/v1/completions`, { method: "POST", headers, agent });
  asked.end(JSON.stringify({ model: "fixture", prompt: PROMPT, max_tokens: TOKENS, stream: true }));
  const [answer] = (await once(asked, "response")) as [AsyncIterable<Buffer>];
  let text = "";
  for await (const bytes of answer) text += bytes.toString("latin1");
  agent.destroy();
  return text.split("\n\n").filter((event) => event.includes('"text":"w')).length;
}

/** From before an event is appended, to disk, until each of the clients has parsed it. */
async function measureEvents(followers: number, perSecond: number): Promise<void> {
  await using served = await start(FAST_WORKER);
  const latencies: number[] = [];
  const sockets = Array.from({ length: followers }, () => {
    const socket = new WebSocket(`${served.url.replace("http", "ws")}/api/events?since=0&topics=system`, {
      headers: { authorization: `Bearer ${served.token}` },
    });
    socket.on("message", (data: Buffer) => {
      const { type, data: content } = JSON.parse(data.toString()) as KittyEvent;
      if (type === "bench.event") latencies.push(Number(process.hrtime.bigint() - BigInt(String(content["at"]))) / 1e6);
    });
    return socket;
  });
  await Promise.all(sockets.map((socket) => once(socket, "open")));
  await served.append(perSecond, EVENT_SECONDS);
  const wanted = followers * perSecond * EVENT_SECONDS;
  for (let waited = 0; latencies.length < wanted && waited < 10_000; waited += 50) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  for (const socket of sockets) socket.terminate();
  console.log(
    `events: ${String(latencies.length)} of ${String(wanted)} came to ${String(followers)} clients at ${String(perSecond)} a second; ms p50 ${quantile(latencies, 0.5).toFixed(1)}, p95 ${quantile(latencies, 0.95).toFixed(1)} (wanted 50), p99 ${quantile(latencies, 0.99).toFixed(1)}`,
  );
}

/** So many clients stream at once on the bundled model. */
async function measureClients(count: number): Promise<void> {
  await using served = await start("");
  const client = new OpenAI({ baseURL: `${served.url}/v1`, apiKey: served.token, maxRetries: 0, timeout: 600_000 });
  const begun = performance.now();
  let tokens = 0;
  const firsts: number[] = [];
  const outcomes = await Promise.allSettled(
    Array.from({ length: count }, async (_, index) => {
      const body = { model: "kitty-tiny", prompt: `${PROMPT} ${String(index)}`, max_tokens: 32, stream: true } as const;
      let text = "";
      for await (const { choices } of await client.completions.create(body)) {
        if (text === "") firsts.push(performance.now() - begun);
        text += choices[0]?.text ?? "";
        tokens += 1;
      }
      if (text === "") throw new Error("no text came");
    }),
  );
  const failed = outcomes.filter(({ status }) => status === "rejected");
  const seconds = (performance.now() - begun) / 1000;
  console.log(
    `clients: ${String(count)} at once, ${String(failed.length)} errors (wanted 0), ${seconds.toFixed(1)} s, ${(tokens / seconds).toFixed(0)} chunks a second, first text p50 ${quantile(firsts, 0.5).toFixed(0)} ms, p95 ${quantile(firsts, 0.95).toFixed(0)} ms`,
  );
  for (const outcome of failed.slice(0, 3)) if (outcome.status === "rejected") console.log(String(outcome.reason));
}

async function start(python: string): Promise<Served> {
  const home = mkdtempSync(join(tmpdir(), "kitty-kv-bench-server-"));
  const child = fork(import.meta.filename, ["serve", python], {
    env: { ...process.env, KITTY_KV_HOME: home },
    execArgv: process.execArgv,
  });
  const [address] = (await once(child, "message")) as [{ url: string; token: string }];
  return {
    ...address,
    append: async (perSecond, seconds) => {
      child.send({ perSecond, seconds });
      await once(child, "message");
    },
    [Symbol.asyncDispose]: async () => {
      child.send("stop");
      if (child.exitCode === null) await once(child, "exit");
      rmSync(home, { recursive: true, force: true });
    },
  };
}

/** The other process. */
async function serveForParent(python: string): Promise<void> {
  const config = {
    server: { port: 0, requestsPerSecond: 1_000_000 },
    worker: { python: python === "" ? null : python },
  };
  await using kitty = await Kitty.start({ config });
  await using server = await serve(kitty, { version: "bench", onDefect: console.error });
  const { log } = kitty.jobs;
  await server.model.load();
  const stopped = new Promise<void>((resolve) => {
    process.on("message", (message: string | { perSecond: number; seconds: number }) => {
      if (typeof message === "string") resolve();
      else void appendEvenly(log, message).then(() => process.send?.("done"));
    });
  });
  process.send?.({ url: server.url, token: server.token });
  await stopped;
  process.disconnect();
}

async function appendEvenly(
  log: Kitty["jobs"]["log"],
  { perSecond, seconds }: { perSecond: number; seconds: number },
): Promise<void> {
  const begun = performance.now();
  for (let sent = 0; sent < perSecond * seconds;) {
    const due = Math.min(perSecond * seconds, Math.floor(((performance.now() - begun) / 1000) * perSecond));
    const at = String(process.hrtime.bigint());
    if (due > sent) {
      const event = { topic: "system", type: "bench.event", id: null, data: { at } } as const;
      log.appendAll(Array.from({ length: due - sent }, () => event));
      sent = due;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

function quantile(values: readonly number[], share: number): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length * share)] ?? Number.NaN;
}
