import type { EngineMetrics } from "../../orchestrator/sessions.js";
import { renderGauge, type Labels } from "./metric.js";

/** What the engines of all workers do now and have done, one sample each over all of them. */
export function renderEngines(engines: readonly EngineMetrics[], labels: Labels): string {
  const pools = engines.flatMap((engine) => engine.pools);
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
  const limited = pools.filter(({ maxBytes }) => maxBytes !== null);
  const limit = sum(limited.map(({ maxBytes }) => maxBytes ?? 0));
  const used = sum(limited.map(({ bytesInUse }) => bytesInUse));
  const one = (name: string, help: string, value: number): string => renderGauge({ name, help }, [{ value, labels }]);
  return [
    // vLLM's is a share of what it has allocated for good; ours has a limit only where one is configured.
    ...(limit > 0 ? [one("vllm:kv_cache_usage_perc", "KV memory in use, as a share of its limit.", used / limit)] : []),
    renderGauge({ name: "kitty_kv_pool_bytes", help: "KV memory of all workers, remembered prefixes included." }, [
      { value: sum(pools.map(({ bytesInUse }) => bytesInUse)), labels: { ...labels, kind: "in_use" } },
      { value: sum(pools.map(({ bytesAllocated }) => bytesAllocated)), labels: { ...labels, kind: "allocated" } },
      { value: sum(pools.map(({ prefixBytes }) => prefixBytes)), labels: { ...labels, kind: "prefixes" } },
    ]),
    one(
      "kitty_kv_engine_tokens_per_second",
      "Tokens that all engines chose a second, over the last five.",
      sum(engines.map(({ tokensPerSecond }) => tokensPerSecond)),
    ),
    one(
      "kitty_kv_engine_waiting",
      "Generations that wait for their turn in an engine.",
      sum(engines.map(({ waiting }) => waiting)),
    ),
  ].join("");
}
