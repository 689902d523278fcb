/** Which folder of src/ may import which others. What is not named may not be imported; a new folder needs a line here. */
export const TYPESCRIPT_FOLDERS = {
  util: [],
  errors: ["util"],
  process: ["errors", "util"],
  config: ["errors", "util"],
  job: ["config", "errors", "util"],
  bridge: ["process", "errors", "util"],
  slurm: ["process", "errors", "util"],
  apptainer: ["process", "errors", "util"],
  runner: ["slurm", "apptainer", "bridge", "process", "job", "config", "errors", "util"],
  orchestrator: ["runner", "bridge", "job", "config", "errors", "util"],
  // Of apptainer, the instances that it lists and stops.
  server: ["orchestrator", "apptainer", "job", "config", "errors", "util"],
  dashboard: ["server/wire", "util"],
  index: [
    "server",
    "orchestrator",
    "runner",
    "slurm",
    "apptainer",
    "bridge",
    "process",
    "job",
    "config",
    "errors",
    "util",
  ],
  // The SDK, and what doctor needs to look at this machine.
  cli: ["index", "runner", "process", "util"],
};

/** Outside packages and modules that have one home. */
export const TYPESCRIPT_PACKAGES = {
  pythonia: ["bridge"],
  express: ["server"],
  ws: ["server"],
  yaml: ["config"],
  execa: ["process"],
  child_process: ["process"],
  commander: ["cli"],
  libsql: ["orchestrator"],
  preact: ["dashboard"],
  uplot: ["dashboard"],
};

/** The same for python/kitty_kv, by its folders and modules. */
export const PYTHON_FOLDERS = {
  errors: [],
  command_line: ["errors"],
  config: ["errors"],
  quant: ["config", "errors"],
  cache: ["quant", "config", "errors"],
  tasks: ["errors"],
  // Where the bundled model lies, and its recipe, which trains without the cache.
  tiny: ["tasks", "config", "errors"],
  hf: ["cache", "quant", "tiny", "config", "errors"],
  sim: ["hf", "cache", "quant", "tiny", "command_line", "config", "errors"],
  engine: ["hf", "cache", "quant", "config", "errors"],
  eval: ["engine", "hf", "sim", "cache", "quant", "tiny", "tasks", "command_line", "config", "errors"],
  bench: ["engine", "hf", "sim", "cache", "quant", "tiny", "command_line", "config", "errors"],
  worker: ["bench", "eval", "engine", "hf", "sim", "cache", "quant", "tiny", "config", "errors"],
  doctor: ["tiny"],
  // Runs any module by its name, and imports none.
  hosted: [],
  // The package's front door hands out names on first use.
  __init__: ["hf", "sim", "quant", "tiny", "config", "errors"],
};

export const PYTHON_PACKAGES = {
  transformers: ["hf"],
  datasets: ["eval"],
  lm_eval: ["eval"],
};

/** What kernels may import besides the standard library and themselves. */
export const KERNEL_PACKAGES = ["torch", "triton"];
