import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { giveFile, takeFile } from "../../../src/bridge/file-exchange.js";
import { temporaryFolder } from "../../scripts/temporary-folder.js";

function setUp() {
  const folder = temporaryFolder();
  onTestFinished(() => {
    folder[Symbol.dispose]();
  });
  const [host, secret, path] = ["scratch", "secret", "session.kitty"].map((name) => join(folder.path, name)) as [
    string,
    string,
    string,
  ];
  mkdirSync(host);
  writeFileSync(secret, "secret");
  const exchange = { host, inside: "/inside" };
  /** The path on this machine of what a worker was told. */
  const onHost = (inside: string): string => {
    expect(inside).toMatch(/^\/inside\/(in|out)-[0-9a-f-]{36}$/);
    return join(host, basename(inside));
  };
  return { folder: folder.path, host, secret, path, exchange, onHost };
}

test("without an exchange a worker gets the path itself", async () => {
  const paths: string[] = [];
  const note = (path: string): Promise<void> => {
    paths.push(path);
    return Promise.resolve();
  };
  await takeFile(undefined, "/a", note);
  await giveFile(undefined, "/b", note);
  expect(paths).toEqual(["/a", "/b"]);
});

test("what a worker writes arrives whole, and what it is given is there only meanwhile", async () => {
  const { folder, host, path, exchange, onHost } = setUp();
  await takeFile(exchange, path, async (inside) => {
    writeFileSync(onHost(inside), "x".repeat(300_000));
    await Promise.resolve();
  });
  expect(readFileSync(path, "utf8")).toBe("x".repeat(300_000));
  const read = await giveFile(exchange, path, (inside) => Promise.resolve(readFileSync(onHost(inside), "utf8")));
  expect(read).toHaveLength(300_000);
  expect([readdirSync(host), readdirSync(folder).sort()]).toEqual([[], ["scratch", "secret", "session.kitty"]]);
});

test.each<[string, (file: string, secret: string) => void]>([
  [
    "a link to a file of ours",
    (file, secret) => {
      symlinkSync(secret, file);
    },
  ],
  [
    "a folder",
    (file) => {
      mkdirSync(file);
    },
  ],
  ["a pipe", (file) => void spawnSync("mkfifo", [file])],
  ["nothing", () => undefined],
])("a worker that leaves %s instead of a file is refused, and the old file stays", async (_, leave) => {
  const { path, exchange, secret, onHost } = setUp();
  writeFileSync(path, "old");
  const taking = takeFile(exchange, path, async (inside) => {
    await Promise.resolve();
    leave(onHost(inside), secret);
  });
  await expect(taking).rejects.toMatchObject({ code: "exchange_refused" });
  expect(readFileSync(path, "utf8")).toBe("old");
});

test("a folder that cannot be written, and a failure of the worker, are told and leave nothing", async () => {
  const { folder, host, exchange, onHost } = setUp();
  const write = async (inside: string): Promise<void> => {
    writeFileSync(onHost(inside), "x");
    await Promise.resolve();
  };
  await expect(takeFile(exchange, join(folder, "none", "a"), write)).rejects.toMatchObject({ code: "cache_file" });
  const fail = async (inside: string): Promise<void> => {
    await write(inside);
    throw new Error("no");
  };
  await expect(takeFile(exchange, join(folder, "a"), fail)).rejects.toThrow("no");
  expect([readdirSync(host), existsSync(join(folder, "a"))]).toEqual([[], false]);
});
