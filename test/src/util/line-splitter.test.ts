import { expect, test } from "vitest";
import { LineSplitter } from "../../../src/util/line-splitter.js";

function collect(limitBytes: number) {
  const lines: string[] = [];
  const tooLong: number[] = [];
  const splitter = new LineSplitter({
    limitBytes,
    onLine: (line) => lines.push(line.toString("utf8")),
    onTooLong: (part) => tooLong.push(part.length),
  });
  return { splitter, lines, tooLong };
}

test("LineSplitter gives the same lines wherever the input is cut", () => {
  const input = Buffer.from('{"a":"é"}\n\n{"b":"🐱"}\r\nlast\n');
  const expected = ['{"a":"é"}', "", '{"b":"🐱"}\r', "last"];
  for (let first = 0; first <= input.length; first++) {
    for (let second = first; second <= input.length; second++) {
      const { splitter, lines } = collect(100);
      for (const chunk of [input.subarray(0, first), input.subarray(first, second), input.subarray(second)])
        splitter.push(chunk);
      expect(lines, `cut at ${String(first)} and ${String(second)}`).toEqual(expected);
    }
  }
});

test("LineSplitter takes a line of exactly the limit and reports one byte more", () => {
  const exact = collect(5);
  exact.splitter.push(Buffer.from("12345\n"));
  expect([exact.lines, exact.tooLong]).toEqual([["12345"], []]);
  const over = collect(5);
  over.splitter.push(Buffer.from("123"));
  over.splitter.push(Buffer.from("456"));
  expect([over.lines, over.tooLong]).toEqual([[], [6]]);
});

test("LineSplitter counts bytes, not characters", () => {
  const { splitter, tooLong } = collect(5);
  splitter.push(Buffer.from("ééé"));
  expect(tooLong).toEqual([6]);
});

test("LineSplitter stops in the middle of a chunk when a callback says so", () => {
  const lines: string[] = [];
  const splitter: LineSplitter = new LineSplitter({
    limitBytes: 10,
    onLine: (line) => {
      lines.push(line.toString());
      splitter.stop();
    },
    onTooLong: () => undefined,
  });
  splitter.push(Buffer.from("one\ntwo\nthree\n"));
  splitter.push(Buffer.from("four\n"));
  splitter.flush();
  expect(lines).toEqual(["one"]);
});

test("LineSplitter hands out an unfinished last line when flushed", () => {
  const { splitter, lines } = collect(10);
  splitter.push(Buffer.from("half"));
  expect([splitter.pendingBytes, lines]).toEqual([4, []]);
  splitter.flush();
  expect([splitter.pendingBytes, lines]).toEqual([0, ["half"]]);
});
