import { readFileSync } from "node:fs";

/** What vitest-reporter.mjs wrote. */
export function readVitestReport(path) {
  return JSON.parse(readFileSync(path, "utf8"));
}

/** Counts and skip reasons from pytest's JUnit file. */
export function readPytestReport(path) {
  const xml = readFileSync(path, "utf8");
  const [, suite] = /<testsuite ([^>]*)>/.exec(xml) ?? [];
  if (suite === undefined) throw new Error(`${path} has no test suite`);
  const count = (name) => Number(attribute(suite, name) ?? 0);
  const failed = count("failures") + count("errors");
  const skipped = [...xml.matchAll(/<testcase ([^>]*)>\s*<skipped ([^>]*?)\/?>/g)].map(([, test, reason]) => ({
    name: `${attribute(test, "classname")} ${attribute(test, "name")}`,
    reason: attribute(reason, "message") ?? "no reason given",
  }));
  return { passed: count("tests") - failed - count("skipped"), failed, skipped };
}

const ENTITIES = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };

function attribute(text, name) {
  const value = new RegExp(`(?:^|\\s)${name}="([^"]*)"`).exec(text)?.[1];
  return value
    ?.replace(/&#(x[0-9a-f]+|\d+);/gi, (_, code) => String.fromCodePoint(Number(`0${code}`.replace(/^0(\d)/, "$1"))))
    .replace(/&(lt|gt|quot|apos|amp);/g, (_, entity) => ENTITIES[entity]);
}
