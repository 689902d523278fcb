import { useCallback } from "preact/hooks";
import type { WireCluster } from "../../server/wire/cluster.js";
import { call } from "../api/client.js";
import { usePolled, type Polled } from "./use-polled.js";

export interface SeenCluster {
  cluster: WireCluster;
  seenAt: string;
}

/** The cluster as Slurm sees it, every few seconds; what was seen last stays while Slurm does not answer. */
export function useCluster(): Polled<SeenCluster> {
  const read = useCallback(async (signal: AbortSignal) => {
    const cluster = await call<WireCluster>("/api/cluster", { signal });
    return { cluster, seenAt: new Date().toISOString() };
  }, []);
  return usePolled(read, 5000);
}
