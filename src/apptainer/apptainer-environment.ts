import { CERTIFICATE_NAMES, keptVariables, PROXY_NAMES } from "../util/kept-variables.js";

const ALLOWED = [
  "HOME",
  "USER",
  "LOGNAME",
  "LANG",
  "TMPDIR",
  "XDG_RUNTIME_DIR",
  "DBUS_SESSION_BUS_ADDRESS",
  "APPTAINER_CACHEDIR",
  "APPTAINER_CONFIGDIR",
  "APPTAINER_TMPDIR",
  ...CERTIFICATE_NAMES,
  ...PROXY_NAMES,
];
// An ordinary user's PATH often lacks the folders of mkfs.ext3, e2fsck and debootstrap.
const SYSTEM_FOLDERS = ["/usr/sbin", "/sbin"];

/** What Apptainer sees of our environment: no secrets, and none of the variables that bind folders or set options. */
export function apptainerEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const folders = (environment["PATH"] ?? "/usr/bin:/bin").split(":");
  const path = [...folders, ...SYSTEM_FOLDERS.filter((folder) => !folders.includes(folder))].join(":");
  return { ...keptVariables(environment, ALLOWED), PATH: path, NO_COLOR: "1" };
}
