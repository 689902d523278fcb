import { delimiter, join } from "node:path";
import { CERTIFICATE_NAMES, keptVariables, PROXY_NAMES } from "../util/kept-variables.js";

const ALLOWED_NAMES = [
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
  // Whether all of this runs in a container, where code that a model wrote may be run.
  "APPTAINER_CONTAINER",
  ...CERTIFICATE_NAMES,
  "REQUESTS_CA_BUNDLE",
  ...PROXY_NAMES,
];
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

/** What a worker sees of this process's environment: what models and GPUs need, and none of its other secrets. */
export function workerEnvironment(
  packageFolder: string,
  environment: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const allowed = keptVariables(environment, ALLOWED_NAMES, ALLOWED_PREFIXES);
  // Both halves of the bridge must be of one version, so this package's Python half comes first.
  const ours = [join(packageFolder, "python"), join(packageFolder, "kernels")];
  const theirs = allowed["PYTHONPATH"] === undefined ? [] : [allowed["PYTHONPATH"]];
  return { ...allowed, PYTHONPATH: [...ours, ...theirs].join(delimiter), PYTHONUNBUFFERED: "1" };
}
