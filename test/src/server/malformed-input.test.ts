import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { whyNoRealWorker } from "../real-worker.js";
import { startTestServer, type TestServer } from "./test-server.js";

const reason = whyNoRealWorker();
const SEED = Number(process.env["KITTY_KV_FUZZ_SEED"] ?? 12345);
const INPUTS = 10_000;
const AT_ONCE = 25;

describe.skipIf(reason !== undefined)(`malformed input, seed ${String(SEED)}`, () => {
  let running: TestServer;
  let random: (below: number) => number;
  beforeAll(async () => {
    running = await startTestServer({ isLoaded: false, config: { server: { requestsPerSecond: 1_000_000 } } });
    random = generator(SEED);
  });
  afterAll(() => running[Symbol.asyncDispose]());

  /** Sends bytes on a connection of their own; resolves with the answer once the server has closed it. */
  function send(...parts: Buffer[]): Promise<Buffer> {
    return new Promise((resolve) => {
      const socket = connect(Number(new URL(running.server.url).port), "127.0.0.1");
      const answer: Buffer[] = [];
      socket.on("data", (data) => answer.push(data));
      socket.on("error", () => undefined);
      socket.once("close", () => {
        resolve(Buffer.concat(answer));
      });
      socket.setTimeout(5000, () => socket.destroy());
      for (const part of parts) socket.write(part);
      socket.end();
    });
  }

  function head(method: string, path: string, more: Record<string, string> = {}): string {
    const headers = {
      Host: new URL(running.server.url).host,
      Authorization: `Bearer ${running.server.token}`,
      ...more,
    };
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
    return `${method} ${path} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`;
  }

  function withBody(path: string, body: string): Buffer {
    const length = String(Buffer.byteLength(body));
    return Buffer.from(head("POST", path, { "Content-Type": "application/json", "Content-Length": length }) + body);
  }

  /** Some bytes changed, added or cut off. */
  function mutate(valid: Buffer): Buffer {
    const bytes = Buffer.from(valid);
    for (let flip = random(6); flip >= 0; flip--) bytes[random(bytes.length)] = random(256);
    const cut = random(4) === 0 ? bytes.subarray(0, 1 + random(bytes.length)) : bytes;
    return random(8) === 0 ? Buffer.concat([cut, noise(random(200))]) : cut;
  }

  function noise(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => random(256)));
  }

  function pick(templates: readonly Buffer[]): Buffer {
    return templates[random(templates.length)] ?? Buffer.alloc(1);
  }

  /** It answers as before, and nothing was a surprise to it. */
  async function expectUnharmed(): Promise<void> {
    expect((await running.ask("/api/system")).status).toBe(200);
    expect(running.defects).toEqual([]);
    expect(await running.kitty.jobs.list({ limit: 500 })).toMatchObject({ jobs: [] });
  }

  test(
    `${String(INPUTS)} HTTP requests never end in a defect, and none becomes a job`,
    { timeout: 120_000 },
    async () => {
      // Wrong in one place, so that whatever the flips make of them they are no valid jobs.
      const templates = [
        withBody("/api/jobs", '{"kind":"simulate","cache":{"preset":1}}'),
        withBody("/api/jobs/batch", '{"jobs":[{"kind":"generate","params":{"prompts":[1]}}]}'),
        withBody("/v1/chat/completions", '{"model":"none","messages":[{"role":"user","content":"hi"}]}'),
        withBody("/api/sessions/none/generate", '{"prompt":"Once","maxNewTokens":3}'),
        withBody("/api/instances", '{"image":"/none.sif","overlay":"/none.img","count":-1}'),
        Buffer.from(head("GET", "/api/events?since=0&topics=job&limit=3")),
        Buffer.from(head("DELETE", "/api/instances/kitty-0123456789ab")),
      ];
      const statuses = new Map<string, number>();
      for (let sent = 0; sent < INPUTS; sent += AT_ONCE) {
        const batch = Array.from({ length: AT_ONCE }, () => send(mutate(pick(templates))));
        for (const answer of await Promise.all(batch)) {
          const status = /^HTTP\/1\.1 (\d+)/.exec(answer.toString("latin1"))?.[1] ?? "none";
          statuses.set(status, (statuses.get(status) ?? 0) + 1);
        }
      }
      // A model that is not loaded yet is 503, and the only 5xx there may be.
      expect([...statuses.keys()].filter((status) => status.startsWith("5") && status !== "503")).toEqual([]);
      expect([...statuses.values()].reduce((sum, count) => sum + count, 0)).toBe(INPUTS);
      expect(statuses.get("400")).toBeGreaterThan(INPUTS / 4);
      await expectUnharmed();
    },
  );

  test(`${String(INPUTS)} WebSocket frames and handshakes never end in a defect`, { timeout: 120_000 }, async () => {
    const key = Buffer.from("0123456789abcdef").toString("base64");
    const upgrade = { Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "13" };
    const handshake = Buffer.from(head("GET", "/api/events?since=0", { ...upgrade, "Sec-WebSocket-Key": key }));
    const [handshakes, framesEach] = [INPUTS / 5, 20];
    const connections = (INPUTS - handshakes) / framesEach;
    let opened = 0;
    for (let sent = 0; sent < handshakes + connections; sent += AT_ONCE) {
      const batch = Array.from({ length: Math.min(AT_ONCE, handshakes + connections - sent) }, (_, index) => {
        if (sent + index < handshakes) return send(mutate(handshake));
        return send(handshake, ...Array.from({ length: framesEach }, () => mutate(frame(noise(random(60)), random))));
      });
      for (const answer of await Promise.all(batch)) {
        if (answer.subarray(0, 12).toString() === "HTTP/1.1 101") opened += 1;
        expect(answer.subarray(0, 10).toString()).not.toBe("HTTP/1.1 5");
      }
    }
    expect(opened).toBeGreaterThanOrEqual(connections);
    await expectUnharmed();
  });
});

/** A frame as a client sends it: some opcode, masked. */
function frame(payload: Buffer, random: (below: number) => number): Buffer {
  const opcode = [0x0, 0x1, 0x2, 0x8, 0x9, 0xa][random(6)] ?? 1;
  const mask = Buffer.from(Array.from({ length: 4 }, () => random(256)));
  const masked = payload.map((byte, index) => byte ^ (mask[index % 4] ?? 0));
  return Buffer.concat([Buffer.from([0x80 | opcode, 0x80 | payload.length]), mask, masked]);
}

/** Numbers that a seed repeats. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 1103515245 + 12345) % 2 ** 31;
    return Math.floor((state / 2 ** 31) * below);
  };
}
