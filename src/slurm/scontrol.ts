import { runSlurm, type SlurmOptions } from "./run-slurm.js";

/** What of the site's configuration matters to us. */
export interface SiteConfig {
  cluster: string;
  version: string;
  /** Whether sacct can be asked. */
  hasAccounting: boolean;
  /** For so long after its end the controller knows a job. */
  minJobAgeS: number;
  /** One more than the highest number of a task. */
  maxArraySize: number;
  /** For so long after a requeue a job waits, at the least. */
  preemptMode: string;
}

export async function siteConfig(purpose: string, options?: SlurmOptions): Promise<SiteConfig> {
  return parseSiteConfig((await runSlurm("scontrol", ["show", "config"], purpose, options)).stdout);
}

/** What `scontrol show config` wrote. */
export function parseSiteConfig(text: string): SiteConfig {
  const values = new Map(
    text.split("\n").flatMap((line): [string, string][] => {
      const match = /^(\w+)\s*=\s*(.*)$/.exec(line.trim());
      return match === null ? [] : [[match[1] ?? "", (match[2] ?? "").trim()]];
    }),
  );
  const number = (name: string, otherwise: number): number => {
    const found = Number.parseInt(values.get(name) ?? "", 10);
    return Number.isNaN(found) ? otherwise : found;
  };
  const accounting = values.get("AccountingStorageType") ?? "";
  return {
    cluster: values.get("ClusterName") ?? "",
    version: values.get("SLURM_VERSION") ?? "",
    hasAccounting: accounting !== "" && !/none|\(null\)/.test(accounting),
    // Slurm's own defaults.
    minJobAgeS: number("MinJobAge", 300),
    maxArraySize: number("MaxArraySize", 1001),
    preemptMode: values.get("PreemptMode") ?? "",
  };
}
