import { delimiter, join } from "node:path";

const ALLOWED_NAMES = new Set([
  "PATH",
  "HOME",
  "USER",
  "LOGNAME",
  "LANG",
  "LANGUAGE",
  "TZ",
  "TMPDIR",
  "LD_LIBRARY_PATH",
  "XDG_CACHE_HOME",
  "PYTHONPATH",
  "VIRTUAL_ENV",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  "REQUESTS_CA_BUNDLE",
  "HTTP_PROXY",
  "HTTPS_PROXY",
  "NO_PROXY",
  "http_proxy",
  "https_proxy",
  "no_proxy",
]);
const ALLOWED_PREFIXES = [
  "LC_",
  "KITTY_KV_",
  "CUDA_",
  "NVIDIA_",
  "NCCL_",
  "HF_",
  "HUGGINGFACE_",
  "TRANSFORMERS_",
  "TORCH",
  "PYTORCH_",
  "TRITON_",
  "OMP_",
  "MKL_",
  "OPENBLAS_",
  "SLURM_",
];

// A worker serves nobody over HTTP, and is not trusted.
const SECRET_NAMES = new Set(["KITTY_KV_TOKEN"]);

/** What a worker sees of this process's environment: what models and GPUs need, and none of its other secrets. */
export function workerEnvironment(
  packageFolder: string,
  environment: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const allowed: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment)) {
    const isAllowed = ALLOWED_NAMES.has(name) || ALLOWED_PREFIXES.some((prefix) => name.startsWith(prefix));
    if (isAllowed && !SECRET_NAMES.has(name) && value !== undefined) allowed[name] = value;
  }
  // Both halves of the bridge must be of one version, so this package's Python half comes first.
  const ours = [join(packageFolder, "python"), join(packageFolder, "kernels")];
  const theirs = allowed["PYTHONPATH"] === undefined ? [] : [allowed["PYTHONPATH"]];
  return { ...allowed, PYTHONPATH: [...ours, ...theirs].join(delimiter), PYTHONUNBUFFERED: "1" };
}
