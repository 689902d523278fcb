import { existsSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { sep } from "node:path";
import { ConfigError, UnsupportedError } from "../errors.js";
import { stateFolder } from "../util/state-folder.js";
import { checkedPath } from "./checked-path.js";

/** What an instance is made of and may see. */
export interface InstanceSettings {
  image: string;
  /** A sealed overlay, which it only reads. */
  overlay: string;
  /** Folders that it sees read-only, under their own paths. @default none */
  modelFolders?: readonly string[] | undefined;
  /** Whether it sees NVIDIA GPUs (`--nv`). @default false */
  hasNvidia?: boolean | undefined;
  /** The GPUs that are its share, as CUDA_VISIBLE_DEVICES names them. @default all */
  visibleDevices?: string | null | undefined;
  /** With "none" it has a network of its own with nothing in it. @default "none" */
  network?: "none" | "host" | undefined;
  /** Limits; where cgroups do not allow them the start is refused. @default none */
  memoryMiB?: number | null | undefined;
  cpus?: number | null | undefined;
}

export type CheckedSettings = { [Key in keyof InstanceSettings]-?: Exclude<InstanceSettings[Key], undefined> };

// Where the image's own programs, the runtime's own mounts and this package's programs are.
const SYSTEM_FOLDERS = [
  ...["bin", "boot", "dev", "etc", "lib", "lib64", "proc", "run", "sbin", "sys"],
  ...["usr/bin", "usr/lib", "usr/lib64", "usr/libexec", "usr/sbin", "opt/kitty", "opt/kitty-kv"],
];
// A folder in them may be a model's, but as a whole they hold what programs need.
const WHOLE_FOLDERS = [
  "",
  "home",
  "media",
  "mnt",
  "opt",
  "root",
  "srv",
  "tmp",
  "usr",
  "usr/local",
  "usr/share",
  "var",
  "var/tmp",
];

/** @throws ConfigError `invalid_path`, `invalid_model_folder`, `invalid_argument`; UnsupportedError `no_nvidia_gpu` */
export function checkSettings(settings: InstanceSettings): CheckedSettings {
  const { hasNvidia = false, visibleDevices = null, network = "none", memoryMiB = null, cpus = null } = settings;
  if (hasNvidia && !existsSync("/dev/nvidiactl")) {
    throw new UnsupportedError(
      "Cannot start an instance with GPUs: there is no /dev/nvidiactl, so no NVIDIA driver is loaded; leave out --nv or load it",
      { code: "no_nvidia_gpu" },
    );
  }
  if (visibleDevices !== null && !/^[\w-]+(,[\w-]+)*$/.test(visibleDevices)) {
    throw new ConfigError(
      `Cannot start an instance: GPUs are numbers or ids with commas between them, got ${JSON.stringify(visibleDevices)}`,
      { details: { visibleDevices } },
    );
  }
  return {
    image: checkedPath(settings.image, "an image"),
    overlay: checkedPath(settings.overlay, "an overlay"),
    modelFolders: [...new Set((settings.modelFolders ?? []).map(checkModelFolder))],
    ...{ hasNvidia, visibleDevices, network, memoryMiB, cpus },
  };
}

function checkModelFolder(path: string): string {
  const folder = checkedPath(path, "a model folder");
  const refuse = (why: string): never => {
    throw new ConfigError(`Cannot show ${JSON.stringify(folder)} to instances: ${why}, name the model's own folder`, {
      code: "invalid_model_folder",
      details: { path: folder },
    });
  };
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) refuse("it is no folder");
  const isSystem =
    WHOLE_FOLDERS.some((name) => folder === `/${name}`) || SYSTEM_FOLDERS.some((name) => holds(`/${name}`, folder));
  if (isSystem) refuse("it would hide the image's own files");
  // Credentials and other users' state lie there.
  if ([homedir(), stateFolder()].some((secret) => holds(folder, secret))) refuse("it holds your home or state folder");
  return folder;
}

function holds(outer: string, inner: string): boolean {
  return inner === outer || inner.startsWith(outer.endsWith(sep) ? outer : `${outer}${sep}`);
}
