const ALLOWED_NAMES = [
  ...["PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "LD_LIBRARY_PATH", "SLURM_CONF", "SLURM_CLUSTERS"],
  ...[
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
  ],
];
const ALLOWED_PREFIXES = ["KITTY_KV_", "HF_", "TRANSFORMERS_"];
const SECRET_NAMES = new Set(["KITTY_KV_TOKEN"]);

/**
 * What Slurm's commands see of our environment, and so what jobs inherit. SBATCH_*, SQUEUE_* and the like would change
 * what is submitted and how answers look; SLURM_* of a job that we may be in ourselves would make ours steps of it.
 */
export function slurmEnvironment(environment: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment)) {
    const isAllowed = ALLOWED_NAMES.includes(name) || ALLOWED_PREFIXES.some((prefix) => name.startsWith(prefix));
    if (isAllowed && !SECRET_NAMES.has(name) && value !== undefined) kept[name] = value;
  }
  return { ...kept, LC_ALL: "C.UTF-8", SLURM_TIME_FORMAT: "standard", SLURM_BITSTR_LEN: "0" };
}
