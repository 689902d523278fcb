import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, copyFileSync, mkdirSync, openSync, readdirSync, writeFileSync, writeSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { homedir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, onTestFinished, test, vi } from "vitest";
import { listInstances } from "../../../src/apptainer/list-instances.js";
import { acquireOverlayLease } from "../../../src/apptainer/overlay-lease.js";
import { manifestPath } from "../../../src/apptainer/overlay-manifest.js";
import { provisionOverlay } from "../../../src/apptainer/provision-overlay.js";
import { stopInstances } from "../../../src/apptainer/stop-instances.js";
import { ApptainerRunner, type ApptainerRunnerOptions } from "../../../src/runner/apptainer-runner.js";
import { packageRoot } from "../../../src/runner/package-root.js";
import { startInstances } from "../../../src/runner/start-instances.js";
import { temporaryFolder } from "../../scripts/temporary-folder.js";
import { instanceHome } from "../apptainer/test-overlay.js";
import { fixturePath, LIMITS } from "../fixture-worker.js";

const { problem, home, place } = instanceHome();

afterAll(async () => {
  expect(await listInstances()).toEqual([]);
  home[Symbol.dispose]();
});

/** A runner whose workers are a fixture in a folder that instances see. */
function newRunner(python: string, options: Partial<ApptainerRunnerOptions> = {}): ApptainerRunner {
  const settings = { ...place, modelFolders: [join(python, "..")] };
  const runner = new ApptainerRunner({ ...LIMITS, settings, gpus: [], python, ...options });
  onTestFinished(() => runner.stop());
  return runner;
}

function newFolder(): string {
  const folder = temporaryFolder();
  onTestFinished(() => {
    folder[Symbol.dispose]();
  });
  return folder.path;
}

test("a hostile worker sees its image, overlay, scratch and model folders, and nothing else of the host", async ({
  skip,
}) => {
  skip(problem !== undefined, problem);
  const [folder, secret] = [newFolder(), `secret-${String(Math.random())}`];
  vi.stubEnv("KITTY_TEST_SECRET", secret);
  vi.stubEnv("HF_TOKEN", secret);
  vi.stubEnv("APPTAINERENV_INJECTED", secret);
  vi.stubEnv("APPTAINER_BIND", homedir());
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  mkdirSync(join(folder, "worker"));
  const [file, python] = [join(folder, "host-file"), join(folder, "worker", "spying_worker.py")];
  writeFileSync(file, secret);
  copyFileSync(fixturePath("spying_worker"), python);
  const target = { secret, file, home: homedir(), state: home.path, pid: process.pid };
  const { port } = server.address() as AddressInfo;
  writeFileSync(join(folder, "worker", "target.json"), JSON.stringify({ ...target, port }));
  const lines: string[] = [];
  const worker = await newRunner(python).startWorker({ onLog: ({ text }) => void lines.push(text) });
  await expect.poll(() => lines.some((line) => line.startsWith("{"))).toBe(true);
  const findings = JSON.parse(lines.find((line) => line.startsWith("{")) ?? "") as Record<string, unknown>;
  expect(findings).toMatchObject({
    values: [],
    hostFile: "refused: FileNotFoundError",
    stateFolder: "refused: FileNotFoundError",
    hostProcess: "refused: ProcessLookupError",
    network: "refused: ConnectionRefusedError",
    image: "refused: OSError",
    overlay: "refused: OSError",
    models: "refused: OSError",
    programs: "refused: OSError",
    scratch: "'written'",
    capabilities: "0000000000000000",
  });
  // Where the image has a folder of that name, it holds what Debian puts there.
  const hostNames = readdirSync(homedir()).filter((name) => ![".bashrc", ".profile"].includes(name));
  expect(hostNames.filter((name) => String(findings["homeFolder"]).includes(`'${name}'`))).toEqual([]);
  const commands = (findings["commands"] as string[]).filter((command) => command !== "");
  expect(commands.every((command) => /^(appinit|.*spying_worker)/.test(command))).toBe(true);
  expect(findings["environment"]).not.toContain("KITTY_TEST_SECRET");
  worker.kill("the test is over");
});

test("workers go to instances that stand ready and leave them running; more than those end with their worker", async ({
  skip,
}) => {
  skip(problem !== undefined, problem);
  const python = fixturePath("good_worker");
  const settings = { ...place, modelFolders: [join(python, "..")] };
  const [ready] = await startInstances(settings, { python });
  onTestFinished(async () => {
    await stopInstances("all");
  });
  const runner = newRunner(python);
  const [first, second] = [await runner.startWorker(), await runner.startWorker()];
  const names = (await listInstances()).map(({ name }) => name);
  expect([names.length, names[0]]).toEqual([2, ready?.name]);
  expect((await listInstances()).map(({ owner }) => owner?.pid)).toEqual([undefined, process.pid]);
  for (const worker of [first, second]) worker.kill("the test is over");
  await runner.stop();
  expect((await listInstances()).map(({ name, state }) => [name, state])).toEqual([[ready?.name, "ready"]]);
});

test("each instance gets its share of the GPUs, the least used one first", async ({ skip }) => {
  skip(problem !== undefined, problem);
  const runner = newRunner(fixturePath("good_worker"), { gpus: ["0", "GPU-1,GPU-2"] });
  const workers = [await runner.startWorker(), await runner.startWorker(), await runner.startWorker()];
  const shares = (await listInstances()).map(({ visibleDevices }) => visibleDevices);
  expect(shares).toEqual(["0", "GPU-1,GPU-2", "0"]);
  expect(workers).toHaveLength(3);
});

test("an instance that is killed ends its worker's calls, and everything of it is removed", async ({ skip }) => {
  skip(problem !== undefined, problem);
  const runner = newRunner(fixturePath("good_worker"));
  const worker = await runner.startWorker();
  const call = worker.call("fixture.never", {});
  const [instance] = await listInstances();
  process.kill(instance?.process?.pid ?? 0, "SIGKILL");
  await expect(call).rejects.toMatchObject({ name: "WorkerExitedError" });
  await expect.poll(() => listInstances()).toEqual([]);
});

test("while instances read the overlay nobody provisions it, and while somebody writes none starts", async ({
  skip,
}) => {
  skip(problem !== undefined, problem);
  const runner = newRunner(fixturePath("good_worker"));
  const worker = await runner.startWorker();
  const { image, overlay } = place;
  const writing = provisionOverlay(overlay, { image, packageFolder: packageRoot() });
  await expect(writing).rejects.toMatchObject({ code: "overlay_in_use", details: { wanted: "writer" } });
  worker.kill("the test is over");
  await runner.stop();
  await using writer = await acquireOverlayLease(overlay, { kind: "writer", purpose: "write it" });
  await expect(runner.startWorker()).rejects.toMatchObject({ code: "overlay_in_use", details: { wanted: "reader" } });
  expect(writer.lost.aborted).toBe(false);
});

test("an overlay that was changed, of another image, or not sealed is refused, also where it had been trusted", async ({
  skip,
}) => {
  skip(problem !== undefined, problem);
  const folder = newFolder();
  const [image, overlay] = [join(folder, "other.sif"), join(folder, "kitty.img")];
  const python = fixturePath("good_worker");
  const start = (settings: object) => newRunner(python, { settings: { ...place, ...settings } }).startWorker();
  copyFileSync(place.image, image);
  writeSync(openSync(image, "a"), "x");
  await expect(start({ image })).rejects.toMatchObject({ code: "overlay_image_mismatch" });
  expect(spawnSync("cp", ["--sparse=always", place.overlay, overlay]).status).toBe(0);
  copyFileSync(manifestPath(place.overlay), manifestPath(overlay));
  const trusting = newRunner(python, { settings: { ...place, overlay, modelFolders: [join(python, "..")] } });
  (await trusting.startWorker()).kill("the test is over");
  await trusting.stop();
  chmodSync(overlay, 0o600);
  writeSync(openSync(overlay, "r+"), "x", 100 * 2 ** 20);
  await expect(start({ overlay })).rejects.toMatchObject({ code: "overlay_tampered" });
  await expect(start({ overlay: join(folder, "none.img") })).rejects.toMatchObject({
    code: "overlay_manifest_not_found",
  });
});

test("without Apptainer a start fails with the remedy", async ({ skip }) => {
  skip(problem !== undefined, problem);
  const runner = newRunner(fixturePath("good_worker"), { program: join(home.path, "apptainer") });
  await expect(runner.startWorker()).rejects.toMatchObject({ code: "apptainer_not_found" });
  expect(await listInstances()).toEqual([]);
});
