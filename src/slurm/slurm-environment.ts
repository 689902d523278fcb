import { CERTIFICATE_NAMES, keptVariables, PROXY_NAMES } from "../util/kept-variables.js";

const ALLOWED_NAMES = [
  ...["PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "LD_LIBRARY_PATH", "SLURM_CONF", "SLURM_CLUSTERS"],
  ...CERTIFICATE_NAMES,
  ...PROXY_NAMES,
];
const ALLOWED_PREFIXES = ["KITTY_KV_", "HF_", "TRANSFORMERS_"];

/**
 * What Slurm's commands see of our environment, and so what jobs inherit. SBATCH_*, SQUEUE_* and the like would change
 * what is submitted and how answers look; SLURM_* of a job that we may be in ourselves would make ours steps of it.
 */
export function slurmEnvironment(environment: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const kept = keptVariables(environment, ALLOWED_NAMES, ALLOWED_PREFIXES);
  return { ...kept, LC_ALL: "C.UTF-8", SLURM_TIME_FORMAT: "standard", SLURM_BITSTR_LEN: "0" };
}
