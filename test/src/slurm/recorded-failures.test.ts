import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { classifyFailure } from "../../../src/slurm/classify-failure.js";

const FIXTURES = join(import.meta.dirname, "../../fixtures/slurm");

interface Recorded {
  command: string;
  kind: string;
  remedy: string;
  lines: string[];
}

/** Blocks of a file of recorded failures; see the file's head. */
function readRecorded(name: string): Recorded[] {
  const [, ...blocks] = readFileSync(join(FIXTURES, name), "utf8").split(/^\$ /m);
  return blocks.map((block) => {
    const [command = "", expected = "", ...lines] = block.trimEnd().split("\n");
    const [, kind = "", remedy = ""] = /^> (\w+): (.+)$/.exec(expected) ?? [];
    return { command, kind, remedy, lines };
  });
}

/** Rows of the table of messages by version: kind, versions, text. */
function readTable(name: string): (readonly [text: string, kind: string, versions: string])[] {
  const lines = readFileSync(join(FIXTURES, name), "utf8").trimEnd().split("\n");
  return lines
    .filter((line) => !line.startsWith("#"))
    .map((line) => {
      const [kind = "", versions = "", text = ""] = line.split("\t");
      return [text, kind, versions] as const;
    });
}

const recorded = readRecorded("failures-22.05.txt");
const table = readTable("errors.tsv");

test("there is something recorded, of every kind of failure", () => {
  expect(recorded.length).toBeGreaterThan(40);
  expect(table.length).toBeGreaterThan(60);
  const kinds = new Set([...recorded.map(({ kind }) => kind), ...table.map(([, kind]) => kind)]);
  expect([...kinds].sort()).toEqual(
    ["accounting_off", "ambiguous", "busy", "failed", "no_such_job", "refused", "unreachable"].sort(),
  );
});

test.each(recorded)("22.05 recorded, $command: $kind", ({ kind, remedy, lines }) => {
  const failure = classifyFailure(lines);
  expect(failure).toMatchObject({ kind, remedy: expect.stringContaining(remedy) as string });
  // The site's own words.
  expect(lines.some((line) => failure.reason.endsWith(line.slice(line.lastIndexOf(": ") + 2)))).toBe(true);
});

test.each(table)("%s: %s (%s)", (text, kind) => {
  for (const before of ["sbatch: error: Batch job submission failed: ", "allocation failure: "]) {
    const failure = classifyFailure([`${before}${text}`]);
    expect(failure).toMatchObject({ kind, reason: text });
    if (kind === "refused") expect(failure.remedy).not.toMatch(/administrators/);
  }
});
