import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { beforeEach, expect, onTestFinished, test, vi } from "vitest";
import { acquireOverlayLease } from "../../../src/apptainer/overlay-lease.js";
import { ownIdentity } from "../../../src/apptainer/process-identity.js";
import { OverlayInUseError } from "../../../src/errors.js";
import { temporaryFolder } from "../../scripts/temporary-folder.js";

beforeEach(({ skip }) => {
  skip(process.platform !== "linux", "leases read /proc, and Apptainer exists for Linux only");
});

const HOLDER = join(import.meta.dirname, "../../fixtures/lease-holder.ts");

function newOverlay(): string {
  const folder = temporaryFolder();
  onTestFinished(() => {
    folder[Symbol.dispose]();
  });
  return join(folder.path, "kitty.img");
}

function spawnHolder(overlay: string, kind: string, holdMs = 60_000): ChildProcess & { stdout: NodeJS.ReadableStream } {
  const child = spawn(process.execPath, ["--import", "tsx", HOLDER, overlay, kind, String(holdMs)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  return child;
}

async function firstLine(child: { stdout: NodeJS.ReadableStream }): Promise<string> {
  const [line] = (await once(createInterface(child.stdout), "line")) as [string];
  return line;
}

const writer = { kind: "writer", purpose: "write it" } as const;
const reader = { kind: "reader", purpose: "read it" } as const;

test("many readers share an overlay, and a writer is refused until the last has gone", async () => {
  const overlay = newOverlay();
  const first = await acquireOverlayLease(overlay, reader);
  const second = await acquireOverlayLease(overlay, reader);
  await expect(acquireOverlayLease(overlay, writer)).rejects.toThrow(OverlayInUseError);
  await first.release();
  await expect(acquireOverlayLease(overlay, writer)).rejects.toMatchObject({
    code: "overlay_in_use",
    message: expect.stringMatching(/being read \(read it by process \d+ on .* a writer needs it alone/) as string,
    details: { wanted: "writer", holders: [{ kind: "reader", pid: process.pid }] },
  });
  await second.release();
  await using lease = await acquireOverlayLease(overlay, writer);
  expect(lease.holder.kind).toBe("writer");
});

test("while another process writes, neither readers nor a second writer get in; kill -9 frees its lease", async () => {
  const overlay = newOverlay();
  const holder = spawnHolder(overlay, "writer");
  expect(await firstLine(holder)).toMatch(/^held /);
  for (const wanted of [reader, writer]) {
    await expect(acquireOverlayLease(overlay, wanted)).rejects.toMatchObject({
      details: { holders: [{ kind: "writer", pid: holder.pid }] },
    });
  }
  holder.kill("SIGKILL");
  await once(holder, "exit");
  await using lease = await acquireOverlayLease(overlay, writer);
  expect(lease.lost.aborted).toBe(false);
  expect(readdirSync(`${overlay}.lease`)).toHaveLength(1);
});

test("of writers that start at once, no two ever hold the overlay together, and at least one gets it", async () => {
  const overlay = newOverlay();
  const outputs = await Promise.all(
    [1, 2, 3, 4, 5, 6].map((number) => text(spawnHolder(overlay, number === 6 ? "reader" : "writer", 300).stdout)),
  );
  const spans = outputs
    .map((output) => /held (\d+)\nreleased (\d+)/.exec(output))
    .filter((match) => match !== null)
    .map(([, from = "", to = ""]) => ({ from: BigInt(from), to: BigInt(to) }))
    .sort((a, b) => (a.from < b.from ? -1 : 1));
  expect(spans.length).toBeGreaterThanOrEqual(1);
  for (const [index, { from }] of spans.slice(1).entries()) expect(from).toBeGreaterThan(spans[index]?.to ?? 0n);
  expect(outputs.filter((output) => !output.startsWith("held")).every((output) => output === "overlay_in_use\n")).toBe(
    true,
  );
});

/** An entry as a process that is not this one would have left it. */
function leaveEntry(overlay: string, identity: object, ageMs = 0): string {
  const path = join(`${overlay}.lease`, "writer-left.json");
  mkdirSync(`${overlay}.lease`, { recursive: true });
  const since = new Date(Date.now() - 10_000).toISOString();
  writeFileSync(path, JSON.stringify({ kind: "writer", purpose: "test", since, ...ownIdentity(), ...identity }));
  const time = new Date(Date.now() - ageMs);
  utimesSync(path, time, time);
  return path;
}

test("a number that the system gave to another process does not keep a dead holder's lease", async () => {
  const overlay = newOverlay();
  leaveEntry(overlay, { startTime: "1" });
  await using lease = await acquireOverlayLease(overlay, writer);
  expect(lease.holder.pid).toBe(process.pid);
});

test.each([
  ["another machine", { bootId: "another", host: "node7" }],
  ["another container", { pidNamespace: "pid:[1]" }],
])("a holder on %s lives while its heartbeat is young, and is dead after five minutes of silence", async (_, place) => {
  const overlay = newOverlay();
  leaveEntry(overlay, { ...place, pid: 1 }, 250_000);
  await expect(acquireOverlayLease(overlay, writer)).rejects.toThrow(OverlayInUseError);
  leaveEntry(overlay, { ...place, pid: 1 }, 310_000);
  await using lease = await acquireOverlayLease(overlay, writer);
  expect(lease.holder.kind).toBe("writer");
});

test("a living process's lease stays, however old its heartbeat is", async () => {
  const overlay = newOverlay();
  leaveEntry(overlay, {}, 10_000_000);
  await expect(acquireOverlayLease(overlay, reader)).rejects.toThrow(OverlayInUseError);
});

test("an entry that nobody of ours wrote is an error that names the file, and leaves no entry of ours", async () => {
  const overlay = newOverlay();
  mkdirSync(`${overlay}.lease`);
  writeFileSync(join(`${overlay}.lease`, "writer-x.json"), "{");
  await expect(acquireOverlayLease(overlay, writer)).rejects.toMatchObject({ code: "lease_unreadable" });
  expect(readdirSync(`${overlay}.lease`)).toEqual(["writer-x.json"]);
});

test("a holder whose entry was removed hears of it at its next heartbeat, and one whose entry is there does not", async () => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  onTestFinished(() => void vi.useRealTimers());
  const overlay = newOverlay();
  await using kept = await acquireOverlayLease(newOverlay(), writer);
  await using lease = await acquireOverlayLease(overlay, writer);
  rmSync(`${overlay}.lease`, { recursive: true });
  expect(lease.lost.aborted).toBe(false);
  vi.advanceTimersByTime(15_000);
  await expect.poll(() => lease.lost.aborted).toBe(true);
  expect(kept.lost.aborted).toBe(false);
});

test("a signal that fired takes no lease", async () => {
  const overlay = newOverlay();
  const options = { ...reader, signal: AbortSignal.abort() };
  await expect(acquireOverlayLease(overlay, options)).rejects.toMatchObject({ code: "cancelled" });
});
