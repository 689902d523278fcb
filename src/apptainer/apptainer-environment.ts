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
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  "HTTP_PROXY",
  "HTTPS_PROXY",
  "NO_PROXY",
  "http_proxy",
  "https_proxy",
  "no_proxy",
];
// An ordinary user's PATH often lacks the folders of mkfs.ext3, e2fsck and debootstrap.
const SYSTEM_FOLDERS = ["/usr/sbin", "/sbin"];

/** What Apptainer sees of our environment: no secrets, and none of the variables that bind folders or set options. */
export function apptainerEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const kept = ALLOWED.flatMap((name): [string, string][] => {
    const value = environment[name];
    return value === undefined ? [] : [[name, value]];
  });
  const folders = (environment["PATH"] ?? "/usr/bin:/bin").split(":");
  const path = [...folders, ...SYSTEM_FOLDERS.filter((folder) => !folders.includes(folder))].join(":");
  return { ...Object.fromEntries(kept), PATH: path, NO_COLOR: "1" };
}
