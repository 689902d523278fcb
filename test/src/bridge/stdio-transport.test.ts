import { PassThrough } from "node:stream";
import { expect, test } from "vitest";
import { FRAME_LIMIT_BYTES } from "../../../src/bridge/frames.js";
import { StdioTransport } from "../../../src/bridge/stdio-transport.js";

function makeTransport() {
  const stdin = new PassThrough();
  const stdout = new PassThrough();
  const seen = { events: [] as unknown[], noise: [] as string[], violations: [] as string[] };
  const transport = new StdioTransport(stdin, stdout, {
    onEvent: (event) => void seen.events.push(event),
    onNoise: (line) => seen.noise.push(line),
    onViolation: (reason) => seen.violations.push(reason),
  });
  const feed = async (...chunks: (string | Buffer)[]): Promise<void> => {
    for (const chunk of chunks) stdout.write(chunk);
    stdout.end();
    await new Promise((resolve) => stdout.once("close", resolve));
  };
  return { transport, stdin, feed, seen };
}

test("frames cut at every byte arrive whole and in order", async () => {
  const input = Buffer.from(
    '{"c":"kitty","e":[["tok","s","né🐱",1]]}\n{"r":7,"key":"string","val":"{\\"ok\\":1}","sig":""}\n',
  );
  for (let cut = 1; cut < input.length; cut++) {
    const { transport, feed, seen } = makeTransport();
    const replies: unknown[] = [];
    transport.open();
    transport.writeRaw("{}", 7, (reply) => replies.push(reply));
    await feed(input.subarray(0, cut), input.subarray(cut));
    expect(seen, `cut at ${String(cut)}`).toEqual({ events: [["tok", "s", "né🐱", 1]], noise: [], violations: [] });
    expect(replies).toEqual([{ r: 7, key: "string", val: '{"ok":1}' }]);
  }
});

test("a hundred frames in one chunk arrive in order", async () => {
  const { transport, feed, seen } = makeTransport();
  transport.open();
  const numbers = Array.from({ length: 100 }, (_, i) => i);
  await feed(numbers.map((i) => `{"c":"kitty","e":[${String(i)}]}\n`).join(""));
  expect(seen.events).toEqual(numbers);
});

test("a Python exception that pythonia caught becomes an error envelope", async () => {
  const { transport, feed } = makeTransport();
  let answer = "";
  transport.writeRaw("{}", 1, ({ val }) => (answer = val));
  await feed('{"r":1,"key":"error","val":"","sig":"Traceback\\n  line\\nValueError: odd\\n"}\n');
  expect(JSON.parse(answer)).toMatchObject({
    error: { code: "python_exception", message: expect.stringContaining("ValueError: odd") as string },
  });
});

test("text before the first frame is told as noise, up to 64 KiB", async () => {
  const quiet = makeTransport();
  await quiet.feed("Welcome\n", Buffer.from([0xff, 0xfe, 0x0a]), '{"level":"info"}\n', '{"c":"kitty","e":[1]}\n');
  expect(quiet.seen).toMatchObject({
    noise: ["Welcome", "\ufffd\ufffd", '{"level":"info"}'],
    events: [1],
    violations: [],
  });
  const loud = makeTransport();
  await loud.feed(`${"x".repeat(99)}\n`.repeat(700));
  expect(loud.seen.violations).toEqual(["the worker sent more than 64 KiB of text before its first frame"]);
});

test("one endless line before the first frame is refused at 64 KiB", async () => {
  const { feed, seen } = makeTransport();
  await feed("x".repeat(70_000));
  expect(seen.violations).toEqual(["the worker sent a line longer than 65536 bytes"]);
});

test("a frame of exactly 16 MiB is read, one byte more is refused", async () => {
  const frame = (sizeBytes: number): string => {
    const shell = '{"c":"kitty","e":[""]}';
    return `{"c":"kitty","e":["${"x".repeat(sizeBytes - shell.length)}"]}\n`;
  };
  const exact = makeTransport();
  exact.transport.open();
  await exact.feed(frame(FRAME_LIMIT_BYTES));
  expect([exact.seen.events.length, exact.seen.violations]).toEqual([1, []]);
  const over = makeTransport();
  over.transport.open();
  await over.feed(frame(FRAME_LIMIT_BYTES + 1));
  expect([over.seen.events.length, over.seen.violations]).toEqual([
    0,
    ["the worker sent a line longer than 16777216 bytes"],
  ]);
});

test("nothing after a refused frame is looked at, even in the same chunk", async () => {
  const { transport, feed, seen } = makeTransport();
  transport.open();
  await feed('{"c":"jsi","r":1}\n{"c":"kitty","e":[1]}\nnoise\n', '{"c":"kitty","e":[2]}\n');
  expect(seen.events).toEqual([]);
  expect(seen.violations).toHaveLength(1);
});

test("a call over 16 MiB is refused before a byte is written", () => {
  const { transport, stdin } = makeTransport();
  const payload = "é".repeat(FRAME_LIMIT_BYTES / 2 + 1);
  expect(() => {
    transport.writeRaw(payload, 1, () => undefined);
  }).toThrow("Cannot send 16777218 bytes to the worker in one call: the limit is 16777216");
  expect([stdin.readableLength, transport.pendingCalls]).toEqual([0, 0]);
});

test("pythonia's object requests and answers cannot be written", () => {
  const { transport } = makeTransport();
  expect(() => {
    transport.write();
  }).toThrow("only calls with plain arguments cross the bridge");
});
