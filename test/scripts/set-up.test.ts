import { once } from "node:events";
import { existsSync } from "node:fs";
import { chmod, mkdir, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { execaSync } from "execa";
import { expect, test } from "vitest";
import { makeCheckout, startSetUp, writeLock } from "./checkout.js";
import { temporaryFolder } from "./temporary-folder.js";

const NOTHING = "# nothing\n";
const OFFLINE = { PIP_NO_INDEX: "1", PIP_FIND_LINKS: "" };

test("Set-up does nothing the second time, in less than two seconds", async () => {
  using folder = temporaryFolder();
  await makeCheckout(folder.path, NOTHING);

  const first = await startSetUp(folder.path);
  expect(first.stdout).toBe('["python environment","python packages"]');
  expect(first.stderr).toContain("Set-up: python environment done in");

  const startedAt = performance.now();
  const second = await startSetUp(folder.path);
  expect(performance.now() - startedAt).toBeLessThan(2000);
  expect(second).toMatchObject({ stdout: "[]", stderr: "" });

  await writeLock(folder.path, "# still nothing\n");
  expect((await startSetUp(folder.path)).stdout).toBe('["python packages"]');
});

test("A step that fails names itself, its last lines and the remedy, and leaves no .venv", async () => {
  using folder = temporaryFolder();
  await makeCheckout(folder.path, "kitty-kv-is-not-there==9.9.9\n");
  const { stderr, exitCode } = await startSetUp(folder.path, OFFLINE);
  expect(stderr).toContain('Set-up step "python packages" failed: python ended with exit code 1\n');
  expect(stderr).toContain("  | ERROR: No matching distribution found for kitty-kv-is-not-there==9.9.9");
  expect(stderr).toContain("To do: the package index does not have this version");
  expect(exitCode).toBe(1);
  expect(existsSync(join(folder.path, ".venv"))).toBe(false);
});

test("Set-up without a network says so", async () => {
  using folder = temporaryFolder();
  await makeCheckout(folder.path, "kitty-kv-is-not-there==9.9.9\n");
  const env = {
    PIP_INDEX_URL: "http://127.0.0.1:1/simple",
    PIP_EXTRA_INDEX_URL: "",
    PIP_FIND_LINKS: "",
    PIP_RETRIES: "1",
  };
  const { stderr } = await startSetUp(folder.path, env);
  expect(stderr).toContain("To do: check the network; behind a mirror name it in the tools' own configuration");
});

const tmpfs = findTmpfs();

test("Set-up on a full disk says so and leaves nothing", async ({ skip }) => {
  const [file = "", ...args] = tmpfs ?? skip("mounting a small disk needs root or user namespaces");
  using folder = temporaryFolder();
  const disk = join(folder.path, "disk");
  await mkdir(disk);
  await makeCheckout(folder.path, NOTHING);
  // The checkout moves onto a disk that has no room for pip.
  const script = `
    mount -t tmpfs -o size=4m none ${disk} && cp -r ${folder.path}/scripts ${folder.path}/python ${disk}/ && cd ${disk} &&
    ${process.execPath} scripts/fail.mjs; echo "left: $(ls -A ${disk} | tr '\\n' ' ')"; umount ${disk}`;
  await writeFile(
    join(folder.path, "scripts/fail.mjs"),
    `import { setUp } from "./setup/set-up.mjs";
     import { PYTHON_STEPS } from "./setup/steps.mjs";
     await setUp(process.cwd(), { steps: PYTHON_STEPS }).catch((error) => console.log(error.report()));`,
  );
  const { stdout } = execaSync(file, [...args, script], { env: { KITTY_KV_PYTHON: "" }, reject: false });
  expect(stdout).toContain('Set-up step "python environment" failed: ');
  expect(stdout).toMatch(/To do: free disk space and start again: \S+ has \d MiB left/);
  expect(stdout).toContain("left: .setup python scripts");
});

test("Ctrl-C ends set-up, the program it waits for, and what was half made", async () => {
  using folder = temporaryFolder();
  await makeCheckout(folder.path, "kitty-kv-is-not-there==9.9.9\n");
  await using mirror = await startSilentMirror();
  const running = startSetUp(folder.path, mirror.env);
  await mirror.requested;
  running.kill("SIGINT");
  const { exitCode, stderr } = await running;
  expect(exitCode).toBe(130);
  expect(stderr).toContain("Set-up: interrupted, what was half made is removed");
  expect(existsSync(join(folder.path, ".venv"))).toBe(false);
  await mirror.disconnected;
});

test("A second set-up waits for the first, and goes on when that was killed and its pip has ended", async () => {
  using folder = temporaryFolder();
  await makeCheckout(folder.path, "kitty-kv-is-not-there==9.9.9\n");
  const mirror = await startSilentMirror();
  const first = startSetUp(folder.path, mirror.env);
  await mirror.requested;
  await writeLock(folder.path, NOTHING);
  const second = startSetUp(folder.path);
  await once(second.stderr, "data");
  first.kill("SIGKILL");
  await first;
  // pip lost its parent, and still writes into .venv until its request ends.
  expect(second.exitCode).toBeNull();
  await mirror[Symbol.asyncDispose]();
  const { stdout, stderr } = await second;
  expect(stderr).toContain("another set-up is at work in this checkout, waiting for it");
  expect(stdout).toBe('["python packages"]');
});

const PYTHONS: [name: string, report: object, found: string][] = [
  ["too old", { version: [3, 9, 2], missing: null }, "is Python 3.9.2, and 3.10 or later is needed"],
  ["too new", { version: [3, 19, 0], missing: null }, "is Python 3.19.0, for which the pinned packages have no builds"],
  ["without venv", { version: [3, 11, 2], missing: "ensurepip" }, "is Python 3.11.2 without the ensurepip module"],
];

test.each(PYTHONS)("A Python that is %s is refused by name", async (_name, report, found) => {
  using folder = temporaryFolder();
  await makeCheckout(folder.path, NOTHING);
  const python = join(folder.path, "python3");
  await writeProgram(python, `echo '${JSON.stringify({ ...report, file: python })}'`);
  const { stderr, exitCode } = await startSetUp(folder.path, { KITTY_KV_PYTHON: python });
  expect(stderr).toContain(`Set-up step "python" failed: KITTY_KV_PYTHON is "${python}", which ${found}`);
  expect(stderr).toContain("To do: set KITTY_KV_PYTHON to a Python 3.10 to 3.14 with its venv module");
  expect(exitCode).toBe(1);
});

test("Set-up without Python, and with an npm that is too old, says what to install", async () => {
  using folder = temporaryFolder();
  await makeCheckout(folder.path, NOTHING);
  const bin = join(folder.path, "bin");
  await mkdir(bin);
  await symlink(process.execPath, join(bin, "node"));
  await writeProgram(join(bin, "npm"), "echo 6.14.4");
  const old = await startSetUp(folder.path, { PATH: bin });
  expect(old.stderr).toContain(
    'Set-up step "npm" failed: this is npm 6.14.4, and 9 or later is needed\nTo do: update it',
  );
  await writeProgram(join(bin, "npm"), "echo 10.8.2");
  const none = await startSetUp(folder.path, { PATH: bin });
  expect(none.stderr).toContain(
    'Set-up step "python" failed: no Python fits: there is no Python on PATH\nTo do: install Python',
  );
});

async function writeProgram(path: string, script: string): Promise<void> {
  await writeFile(path, `#!/bin/sh\n${script}\n`);
  await chmod(path, 0o755);
}

/** A package index that takes requests and answers none, until it is disposed of. */
async function startSilentMirror() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const requested = once(server, "request");
  const disconnected = once(server, "connection").then(([socket]) => once(socket as NodeJS.EventEmitter, "close"));
  const { port } = server.address() as AddressInfo;
  return {
    env: {
      PIP_INDEX_URL: `http://127.0.0.1:${String(port)}/simple`,
      PIP_EXTRA_INDEX_URL: "",
      PIP_FIND_LINKS: "",
      PIP_RETRIES: "0",
    },
    requested,
    disconnected,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

/** How to run a shell script that may mount. */
function findTmpfs(): string[] | undefined {
  const ways = [
    ["unshare", "--mount", "sh", "-c"],
    ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"],
  ];
  return ways.find(([file = "", ...args]) => {
    const { exitCode } = execaSync(file, [...args, "mount -t tmpfs -o size=1m none /mnt"], {
      reject: false,
      stdio: "ignore",
    });
    return exitCode === 0;
  });
}
