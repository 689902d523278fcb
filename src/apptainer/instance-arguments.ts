import type { CheckedSettings } from "./instance-settings.js";

/** Where an instance finds its scratch folder, the one place it may write. */
export const SCRATCH = "/tmp";

/** Where an instance finds this package's own programs. */
export const INSIDE = {
  bridge: "/opt/kitty-kv/bridge",
  python: "/opt/kitty-kv/python",
  kernels: "/opt/kitty-kv/kernels",
  /** What a single program is shown besides. */
  files: "/opt/kitty-kv/files",
} as const;

/** The same folders on this machine; an instance only reads them. */
export type ProgramFolders = Readonly<Record<"bridge" | "python" | "kernels", string>>;

export interface ContainerPlace {
  /** The folder on this machine that becomes the one place to write. */
  scratch: string;
  programs: ProgramFolders;
  /** More that it sees, as `--bind` takes it; paths must have been checked. @default nothing */
  binds?: readonly string[];
}

/** The arguments of `apptainer` that start an instance; paths must have been checked. */
export function startArguments(name: string, settings: CheckedSettings, place: ContainerPlace): string[] {
  return ["instance", "start", ...containerArguments(settings, place), name];
}

/** The arguments that isolate a container and show it what it needs, up to its image. */
export function containerArguments(
  settings: CheckedSettings,
  { scratch, programs, binds: more = [] }: ContainerPlace,
): string[] {
  const { image, overlay, modelFolders, hasNvidia, network, memoryMiB, cpus } = settings;
  const binds = [`${scratch}:${SCRATCH}`];
  for (const name of ["bridge", "python", "kernels"] as const) binds.push(`${programs[name]}:${INSIDE[name]}:ro`);
  for (const folder of modelFolders) binds.push(`${folder}:${folder}:ro`);
  binds.push(...more);
  return [
    ...["--containall", "--cleanenv", "--no-home", "--no-privs", "--no-eval"],
    ...(network === "none" ? ["--net", "--network", "none"] : []),
    ...(hasNvidia ? ["--nv"] : []),
    ...(memoryMiB === null ? [] : ["--memory", `${String(memoryMiB)}M`]),
    ...(cpus === null ? [] : ["--cpus", String(cpus)]),
    ...binds.flatMap((bind) => ["--bind", bind]),
    ...["--overlay", `${overlay}:ro`, image],
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
  "KITTY_KV_COMPILE",
  "TRANSFORMERS_OFFLINE",
];
const CACHES = {
  HF_HOME: `${SCRATCH}/huggingface`,
  TORCHINDUCTOR_CACHE_DIR: `${SCRATCH}/torchinductor`,
  TRITON_CACHE_DIR: `${SCRATCH}/triton`,
  XDG_CACHE_HOME: `${SCRATCH}/cache`,
};
// Both halves of the bridge must be of one version, so this package's Python half comes before the overlay's.
const PYTHON = { PYTHONPATH: `${INSIDE.python}:${INSIDE.kernels}`, PYTHONUNBUFFERED: "1" };

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
  const inside = { ...Object.fromEntries(passed), ...CACHES, ...share, ...PYTHON };
  // Not --env, which takes a comma in a value for the end of it.
  return Object.fromEntries(Object.entries(inside).map(([name, value]) => [`APPTAINERENV_${name}`, value]));
}
