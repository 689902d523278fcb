import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { checkApptainer } from "../../../../src/cli/doctor/check-apptainer.js";
import { temporaryFolder } from "../../../scripts/temporary-folder.js";

/** A machine of plain files: what is not written is missing there. */
function machine(files: Readonly<Record<string, string>>) {
  const folder = temporaryFolder();
  onTestFinished(() => {
    folder[Symbol.dispose]();
  });
  for (const [name, text] of Object.entries(files)) {
    const path = join(folder.path, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
    chmodSync(path, 0o755);
  }
  const root = folder.path;
  return { root, path: join(root, "bin"), user: { name: "ada", uid: 1000 }, program: join(root, "bin/apptainer") };
}

const apptainer = (version: string): string => `#!/bin/sh\necho apptainer version ${version}\n`;
const GOOD = {
  "bin/apptainer": apptainer("1.4.5"),
  "proc/sys/user/max_user_namespaces": "1000\n",
  "proc/filesystems": "nodev\tsysfs\nnodev\toverlay\n\text3\n",
  "etc/subuid": "ada:100000:65536\n",
  "etc/subgid": "ada:100000:65536\n",
  "dev/fuse": "",
  ...Object.fromEntries(
    ["squashfuse", "fuse2fs", "fuse-overlayfs", "mksquashfs", "newuidmap", "mkfs.ext3", "e2fsck"].map((name) => [
      `bin/${name}`,
      "",
    ]),
  ),
};

test("checkApptainer() finds nothing wrong with a machine that has all of it", async () => {
  const checks = await checkApptainer(true, machine(GOOD));
  expect(checks.filter(({ status }) => status === "failed")).toEqual([]);
  expect(checks[0]).toEqual({ name: "apptainer", status: "ok", found: "apptainer version 1.4.5" });
});

test.each<[string, Record<string, string>, string, RegExp]>([
  ["an old version", { "bin/apptainer": apptainer("1.1.9") }, "apptainer", /install a newer Apptainer/],
  [
    "no user namespaces",
    { "proc/sys/user/max_user_namespaces": "0" },
    "apptainer rootless",
    /max_user_namespaces=15000/,
  ],
  [
    "root's namespaces only",
    { "proc/sys/kernel/unprivileged_userns_clone": "0" },
    "apptainer rootless",
    /userns_clone=1/,
  ],
  [
    "AppArmor",
    { "proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1" },
    "apptainer rootless",
    /AppArmor profile/,
  ],
  ["a user without ids", { "etc/subuid": "adam:1:65536\n" }, "apptainer fakeroot", /usermod --add-subuids .* ada$/],
  ["no overlayfs", { "proc/filesystems": "nodev\tsysfs\n" }, "apptainer overlay", /modprobe overlay/],
])("checkApptainer() fails %s and names the remedy", async (_, files, name, remedy) => {
  const checks = await checkApptainer(true, machine({ ...GOOD, ...files }));
  expect(checks.filter(({ status }) => status === "failed")).toMatchObject([
    { name, remedy: expect.stringMatching(remedy) as string },
  ]);
});

test("checkApptainer() without Apptainer fails only where the configuration needs it, and names the remedy in both", async () => {
  const [needed] = await checkApptainer(true, machine({}));
  const [spare] = await checkApptainer(false, machine({}));
  const remedy = expect.stringContaining("install Apptainer 1.2") as string;
  expect(needed).toMatchObject({ name: "apptainer", status: "failed", remedy });
  expect(spare).toMatchObject({ name: "apptainer", status: "info", remedy });
});
