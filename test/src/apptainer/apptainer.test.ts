import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { apptainerEnvironment } from "../../../src/apptainer/apptainer-environment.js";
import { runApptainer } from "../../../src/apptainer/apptainer.js";
import { aptMirror } from "../../../src/apptainer/apt-mirror.js";
import { checkedPath } from "../../../src/apptainer/checked-path.js";
import { temporaryFolder } from "../../scripts/temporary-folder.js";

function newFolder(files: Readonly<Record<string, string>>): string {
  const folder = temporaryFolder();
  onTestFinished(() => {
    folder[Symbol.dispose]();
  });
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder.path, name)), { recursive: true });
    writeFileSync(join(folder.path, name), text);
    chmodSync(join(folder.path, name), 0o755);
  }
  return folder.path;
}

test("apptainerEnvironment() hands over no secret and nothing that changes what a container sees", () => {
  const secrets = {
    HF_TOKEN: "x",
    AWS_SECRET_ACCESS_KEY: "x",
    APPTAINER_BIND: "/",
    APPTAINERENV_X: "1",
    LD_PRELOAD: "x",
  };
  expect(apptainerEnvironment({ ...secrets, HOME: "/home/ada", PATH: "/bin:/sbin" })).toEqual({
    HOME: "/home/ada",
    PATH: "/bin:/sbin:/usr/sbin",
    NO_COLOR: "1",
  });
});

test("runApptainer() rejects with exit code, arguments and the FATAL line among the others", async () => {
  const script =
    '#!/bin/sh\necho "INFO: a" >&2; printf "\\033[91mFATAL:   no such thing\\033[0m\\n" >&2; echo "INFO: b" >&2; exit 255\n';
  const program = join(newFolder({ apptainer: script }), "apptainer");
  await expect(runApptainer(["exec", "$(id)"], { purpose: "try", program })).rejects.toMatchObject({
    code: "apptainer_failed",
    message: `Cannot try: ${program} ended with exit code 255 (FATAL:   no such thing)`,
    details: { exitCode: 255, arguments: ["exec", "$(id)"] },
  });
});

test("runApptainer() ends what it started when the signal fires", async () => {
  const program = join(newFolder({ apptainer: "#!/bin/sh\necho started; exec sleep 600\n" }), "apptainer");
  const stop = new AbortController();
  const onLine = (): void => {
    stop.abort();
  };
  await expect(runApptainer([], { purpose: "try", program, onLine, signal: stop.signal })).rejects.toMatchObject({
    code: "cancelled",
  });
});

test.each(["", "a:ro", "a,b", "a\nb"])("checkedPath() refuses %j", (path) => {
  expect(() => checkedPath(path, "an overlay")).toThrow(expect.objectContaining({ code: "invalid_path" }));
});

test("checkedPath() leaves no path that begins with a dash", () => {
  expect(checkedPath("--overlay", "an image")).toBe(join(process.cwd(), "--overlay"));
});

const SECURITY = "deb http://mirror.example/debian-security bookworm-security main\n";

test.each<[string, Record<string, string>, string | undefined]>([
  [
    "a list",
    { "apt/sources.list": `${SECURITY}deb [arch=amd64] http://mirror.example/debian/ bookworm main\n` },
    "http://mirror.example/debian",
  ],
  [
    "a sources file",
    { "apt/sources.list.d/debian.sources": "Types: deb\nURIs: https://m.example/debian\n" },
    "https://m.example/debian",
  ],
  ["other archives only", { "apt/sources.list": SECURITY }, undefined],
  [
    "another system",
    { "os-release": "ID=ubuntu\n", "apt/sources.list": "deb http://m.example/debian x main\n" },
    undefined,
  ],
])("aptMirror() reads %s", (_, files, mirror) => {
  expect(aptMirror(newFolder({ "os-release": "NAME=x\nID=debian\n", ...files }))).toBe(mirror);
});
