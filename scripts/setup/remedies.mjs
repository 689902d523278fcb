import { statfsSync } from "node:fs";

const LOW_SPACE_BYTES = 32 * 2 ** 20;

const CAUSES = [
  {
    pattern: /No space left on device|ENOSPC|Disk quota exceeded|EDQUOT|Errno 28\b/i,
    remedy: (root) =>
      `free disk space and start again: ${root} has ${freeMiB(root)} MiB left; .venv needs about 1.5 GB for CPUs and 8 GB with CUDA, and downloads pass through TMPDIR and the pip and npm caches`,
  },
  {
    pattern: /ensurepip is not available|No module named '?(ensurepip|venv)/i,
    remedy: () =>
      `install the venv module of this Python (Debian, Ubuntu: apt install python3-venv), or set KITTY_KV_PYTHON to a Python that has it`,
  },
  {
    pattern: /certificate verify failed|CERTIFICATE_VERIFY_FAILED|SELF_SIGNED_CERT|UNABLE_TO_(GET|VERIFY)/i,
    remedy: () =>
      `tell pip and npm your certificate authority (pip config set global.cert FILE, npm config set cafile FILE), then start again`,
  },
  {
    pattern:
      /ECONNREFUSED|ECONNRESET|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|ENETUNREACH|ERR_SOCKET|name resolution|Max retries exceeded|NewConnectionError|Network is unreachable|ProxyError|Read timed out|Connection (refused|reset|to .* timed out)/i,
    remedy: () =>
      `check the network; behind a mirror name it in the tools' own configuration (pip config set global.index-url URL, npm config set registry URL), then start again`,
  },
  {
    pattern: /No matching distribution found|Could not find a version that satisfies|\bE404\b|ETARGET/i,
    remedy: () =>
      `the package index does not have this version for this machine: check that the mirror is complete and reachable, and that Python is one of 3.10 to 3.14 on Linux or macOS`,
  },
  {
    pattern: /EACCES|EPERM|Permission denied|Read-only file system|EROFS/i,
    remedy: (root) => `make ${root} and the pip and npm caches writable for you, then start again`,
  },
  {
    pattern: /npm ci. can only install packages when your package.json and package-lock.json|EUSAGE/i,
    remedy: () =>
      `package.json and package-lock.json differ: run "npm install" once and keep the new package-lock.json`,
  },
];

/** One sentence on how to get past a failed command, from what it printed. */
export function remedyFor({ step, output, signal, root, error }) {
  const text = output.join("\n");
  const [space] = CAUSES;
  // Some tools hide the cause; an almost full disk is cause enough.
  if (space.pattern.test(text) || freeMiB(root) < LOW_SPACE_BYTES / 2 ** 20) return space.remedy(root);
  const known = CAUSES.find(({ pattern }) => pattern.test(text));
  if (known !== undefined) return known.remedy(root);
  if (error?.code === "ENOENT") return `install it and make sure that it is on PATH`;
  if (signal === "SIGKILL")
    return `it was killed, most likely for want of memory: free some (about 4 GB are needed), then start again`;
  return `read the lines above; when they do not help, remove what "${step}" makes (node_modules, dist or .venv) and start again`;
}

function freeMiB(root) {
  const { bavail, bsize } = statfsSync(root);
  return Math.floor((bavail * bsize) / 2 ** 20);
}
