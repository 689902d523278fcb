import type { CheckedSettings } from "./instance-settings.js";

/** Where an instance finds the folder of the worker's own program. */
export const PROGRAM_FOLDER = "/mnt";

export interface InstanceFolders {
  /** What it sees as /tmp, the one place it may write. */
  scratch: string;
  /** What it sees, read-only, as `PROGRAM_FOLDER`. */
  program: string;
}

/** The arguments of `apptainer` that start an instance; paths must have been checked. */
export function startArguments(name: string, settings: CheckedSettings, folders: InstanceFolders): string[] {
  const { image, overlay, modelFolders, hasNvidia, network, memoryMiB, cpus } = settings;
  const binds = [`${folders.scratch}:/tmp`, `${folders.program}:${PROGRAM_FOLDER}:ro`];
  for (const folder of modelFolders) binds.push(`${folder}:${folder}:ro`);
  return [
    ...["instance", "start", "--containall", "--cleanenv", "--no-home", "--no-privs", "--no-eval"],
    ...(network === "none" ? ["--net", "--network", "none"] : []),
    ...(hasNvidia ? ["--nv"] : []),
    ...(memoryMiB === null ? [] : ["--memory", `${String(memoryMiB)}M`]),
    ...(cpus === null ? [] : ["--cpus", String(cpus)]),
    ...binds.flatMap((bind) => ["--bind", bind]),
    ...["--overlay", `${overlay}:ro`, image, name],
  ];
}

/** The arguments that run a program inside; without `--cleanenv` here too it would see the caller's whole environment. */
export function execArguments(name: string, program: readonly string[]): string[] {
  return ["--silent", "exec", "--cleanenv", "--no-eval", "--pwd", "/", `instance://${name}`, ...program];
}

const PASSED_NAMES = [
  "LANG",
  "LC_ALL",
  "TZ",
  "OMP_NUM_THREADS",
  "MKL_NUM_THREADS",
  "OPENBLAS_NUM_THREADS",
  "CUDA_DEVICE_ORDER",
  "CUDA_VISIBLE_DEVICES",
  "PYTORCH_CUDA_ALLOC_CONF",
  "HF_HUB_OFFLINE",
  "TRANSFORMERS_OFFLINE",
];
const CACHES = {
  HF_HOME: "/tmp/huggingface",
  TORCHINDUCTOR_CACHE_DIR: "/tmp/torchinductor",
  TRITON_CACHE_DIR: "/tmp/triton",
  XDG_CACHE_HOME: "/tmp/cache",
};

/** What programs inside see besides what Apptainer itself sets: a few settings of ours, no secrets. */
export function insideEnvironment(
  visibleDevices: string | null,
  environment: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const passed = PASSED_NAMES.flatMap((name): [string, string][] => {
    const value = environment[name];
    return value === undefined ? [] : [[name, value]];
  });
  const share = visibleDevices === null ? {} : { CUDA_VISIBLE_DEVICES: visibleDevices };
  const inside = { ...Object.fromEntries(passed), ...CACHES, ...share, PYTHONUNBUFFERED: "1" };
  // Not --env, which takes a comma in a value for the end of it.
  return Object.fromEntries(Object.entries(inside).map(([name, value]) => [`APPTAINERENV_${name}`, value]));
}
