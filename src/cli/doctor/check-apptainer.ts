import { accessSync, constants, existsSync, readFileSync } from "node:fs";
import { userInfo } from "node:os";
import { delimiter, join } from "node:path";
import { failed, info, ok, type Check } from "./check.js";
import { runProgram } from "./run-program.js";

const OLDEST = [1, 2] as const;

/** What the checks look at; a test passes another machine's. */
export interface Machine {
  /** The folder that holds `etc`, `dev` and `proc`. */
  root: string;
  path: string;
  user: { name: string; uid: number };
  /** The `apptainer` program. */
  program: string;
}

/**
 * What Apptainer is and whether it can do here what images, overlays and instances need.
 * @param isNeeded whether the configuration runs workers in it; otherwise what is missing is told and fails nothing
 */
export async function checkApptainer(isNeeded: boolean, machine: Machine = thisMachine()): Promise<Check[]> {
  const { path, program } = machine;
  const bad = isNeeded ? failed : withRemedy;
  const run = await runProgram({ file: program, args: ["--version"], env: { PATH: path } });
  if (run.startError !== undefined) {
    const remedy = "install Apptainer 1.2 or later (apptainer.org/docs/admin), or load its module";
    return [bad("apptainer", `no ${program} on PATH; only "runner: apptainer" needs it`, remedy)];
  }
  const found = [
    checkVersion(run.stdout.trim(), run.exitCode),
    checkUserNamespaces(machine),
    checkSubordinateIds(machine),
    checkFuse(machine),
    ...PROGRAMS.map((needed) => checkProgramOnPath(machine, needed)),
    checkOverlayKernel(machine),
    checkNvidia(machine),
  ];
  return found.map((check) => (check.status === "failed" ? bad(check.name, check.found, check.remedy ?? "") : check));
}

function thisMachine(): Machine {
  const { PATH = "", KITTY_KV_APPTAINER = "" } = process.env;
  const { username, uid } = userInfo();
  const program = KITTY_KV_APPTAINER === "" ? "apptainer" : KITTY_KV_APPTAINER;
  return { root: "/", path: PATH, user: { name: username, uid }, program };
}

function withRemedy(name: string, found: string, remedy: string): Check {
  return { ...info(name, found), remedy };
}

function checkVersion(text: string, exitCode: number | null): Check {
  const [, major, minor] = /(\d+)\.(\d+)/.exec(text) ?? [];
  const isNew = Number(major) > OLDEST[0] || (Number(major) === OLDEST[0] && Number(minor) >= OLDEST[1]);
  if (exitCode === 0 && isNew) return ok("apptainer", text);
  const found = exitCode === 0 ? text : `it ends with exit code ${String(exitCode)}`;
  return failed("apptainer", `${found}, and ${OLDEST.join(".")} or later is needed`, "install a newer Apptainer");
}

function checkUserNamespaces({ root, user }: Machine): Check {
  const name = "apptainer rootless";
  const most = Number(read(join(root, "proc/sys/user/max_user_namespaces")));
  if (most === 0) {
    return failed(name, "user namespaces are off", "as root: sysctl -w user.max_user_namespaces=15000");
  }
  if (read(join(root, "proc/sys/kernel/unprivileged_userns_clone")) === "0") {
    return failed(name, "only root may make user namespaces", "as root: sysctl -w kernel.unprivileged_userns_clone=1");
  }
  const isRestricted = read(join(root, "proc/sys/kernel/apparmor_restrict_unprivileged_userns")) === "1";
  if (isRestricted && user.uid !== 0 && !existsSync(join(root, "etc/apparmor.d/apptainer"))) {
    const remedy = "install Apptainer's AppArmor profile as /etc/apparmor.d/apptainer (its Ubuntu package has it)";
    return failed(name, "AppArmor restricts user namespaces and has no profile for Apptainer", remedy);
  }
  return ok(name, "user namespaces work");
}

/** `build --fakeroot` maps the image's users to these; exec and instances do without. */
function checkSubordinateIds({ root, user }: Machine): Check {
  const name = "apptainer fakeroot";
  if (user.uid === 0) return info(name, "this is root; image build uses root's own rights");
  const isListed = (file: string): boolean =>
    (read(join(root, "etc", file)) ?? "")
      .split("\n")
      .some((line) => line.startsWith(`${user.name}:`) || line.startsWith(`${String(user.uid)}:`));
  const missing = ["subuid", "subgid"].filter((file) => !isListed(file)).map((file) => `/etc/${file}`);
  if (missing.length === 0) return ok(name, `${user.name} is in /etc/subuid and /etc/subgid`);
  const remedy = `as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ${user.name}`;
  return failed(name, `${user.name} is not in ${missing.join(" and ")}, so images cannot be built here`, remedy);
}

function checkFuse({ root }: Machine): Check {
  const device = join(root, "dev/fuse");
  try {
    accessSync(device, constants.R_OK | constants.W_OK);
    return ok("apptainer fuse", "/dev/fuse can be opened");
  } catch {
    const remedy = existsSync(device) ? "as root: chmod 666 /dev/fuse" : "as root: modprobe fuse";
    return failed("apptainer fuse", "/dev/fuse cannot be opened for reading and writing", remedy);
  }
}

interface NeededProgram {
  /** Any of these will do. */
  names: readonly string[];
  purpose: string;
  debianPackage: string;
}

const PROGRAMS: readonly NeededProgram[] = [
  { names: ["squashfuse_ll", "squashfuse"], purpose: "mounts images", debianPackage: "squashfuse" },
  { names: ["fuse2fs"], purpose: "mounts overlays", debianPackage: "fuse2fs" },
  { names: ["fuse-overlayfs"], purpose: "writes overlays without root", debianPackage: "fuse-overlayfs" },
  { names: ["mksquashfs"], purpose: "builds images", debianPackage: "squashfs-tools" },
  { names: ["newuidmap"], purpose: "builds images without root", debianPackage: "uidmap" },
  { names: ["mkfs.ext3"], purpose: "makes overlays", debianPackage: "e2fsprogs" },
  { names: ["e2fsck"], purpose: "checks overlays", debianPackage: "e2fsprogs" },
];

function checkProgramOnPath({ path }: Machine, { names, purpose, debianPackage }: NeededProgram): Check {
  const [name = ""] = names;
  // Where an ordinary user's PATH often does not look, and where our calls do.
  const folders = [...path.split(delimiter), "/usr/sbin", "/sbin", "/usr/libexec/apptainer/bin"];
  const found = names.flatMap((file) => folders.map((folder) => join(folder, file))).find(isExecutable);
  if (found !== undefined) return ok(name, `${found}, ${purpose}`);
  return failed(name, `not found; it ${purpose}`, `install it (Debian, Ubuntu: apt install ${debianPackage})`);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function checkOverlayKernel({ root }: Machine): Check {
  const name = "apptainer overlay";
  if (/^nodev\toverlay$/m.test(read(join(root, "proc/filesystems")) ?? "")) return ok(name, "the kernel has overlayfs");
  const remedy = "as root: modprobe overlay; without it every instance needs a fuse-overlayfs process";
  return failed(name, "the kernel has no overlayfs", remedy);
}

function checkNvidia({ root }: Machine): Check {
  const hasGpu = existsSync(join(root, "dev/nvidiactl"));
  return info("apptainer --nv", hasGpu ? "an NVIDIA GPU in /dev" : "no NVIDIA GPU in /dev; containers run on the CPU");
}

/** @returns undefined where there is no such file */
function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return undefined;
  }
}
