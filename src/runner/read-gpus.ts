import { runToEnd } from "../process/run-to-end.js";
import { packageRoot } from "./package-root.js";
import { workerEnvironment } from "./worker-environment.js";

/** One GPU of this machine, now. */
export interface GpuUsage {
  name: string;
  /** Percent of the last moments in which it computed; null where the driver does not say. */
  utilization: number | null;
  usedBytes: number;
  totalBytes: number;
}

const COLUMNS = "name,utilization.gpu,memory.used,memory.total";
const TIMEOUT_MS = 4000;

/** The GPUs that NVIDIA's driver knows; undefined where there is no driver, so that nobody asks again. */
export async function readGpus(): Promise<GpuUsage[] | undefined> {
  const args = [`--query-gpu=${COLUMNS}`, "--format=csv,noheader,nounits"];
  const { exitCode, stdout } = await runToEnd(
    { file: "nvidia-smi", args, env: workerEnvironment(packageRoot(), process.env) },
    { purpose: "read the GPUs", signal: AbortSignal.timeout(TIMEOUT_MS) },
  );
  return exitCode === 0 ? parseGpus(stdout) : undefined;
}

/** Lines such as `NVIDIA H100 80GB HBM3, 37, 1024, 81559`, in percent and MiB. */
export function parseGpus(text: string): GpuUsage[] {
  return text.split("\n").flatMap((line) => {
    // A name may have a comma in it, numbers have none.
    const [, name, utilization, used, total] = /^(.+), ([^,]+), (\d+), (\d+)\s*$/.exec(line) ?? [];
    if (name === undefined || used === undefined || total === undefined) return [];
    const percent = Number(utilization);
    return [
      {
        name,
        utilization: Number.isFinite(percent) ? percent : null,
        usedBytes: Number(used) * 2 ** 20,
        totalBytes: Number(total) * 2 ** 20,
      },
    ];
  });
}
