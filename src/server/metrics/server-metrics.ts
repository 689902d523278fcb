import type { Session } from "../../orchestrator/session.js";
import type { Sessions } from "../../orchestrator/sessions.js";
import { GenerationMetrics } from "./generation-metrics.js";
import { Counter, renderGauge, type Labels } from "./metric.js";
import { renderEngines } from "./render-engines.js";

const MEMORY_TIMEOUT_MS = 2000;

/** Everything that `/metrics` shows. */
export class ServerMetrics {
  readonly generations: GenerationMetrics;
  readonly #labels: () => Labels;
  readonly #requests = new Counter({ name: "kitty_kv_http_requests_total", help: "Answers, by route and status." });
  readonly #startedAt: Date;

  constructor(modelName: () => string, startedAt: Date) {
    this.#labels = () => ({ model_name: modelName() });
    this.#startedAt = startedAt;
    this.generations = new GenerationMetrics(this.#labels);
  }

  countRequest(method: string, route: string, status: number): void {
    this.#requests.add(1, { method, route, status: String(status) });
  }

  /**
   * @param sessions those that are open, whose caches are measured now
   * @param all those of this process, open or not, whose workers are asked what they do; undefined when they are elsewhere
   */
  async render(sessions: readonly Session[], all: Sessions | undefined): Promise<string> {
    const cpu = process.cpuUsage();
    const engines = (await all?.engineMetrics(MEMORY_TIMEOUT_MS)) ?? [];
    return [
      this.generations.render(),
      renderEngines(engines, this.#labels()),
      await this.#renderMemory(sessions),
      this.#requests.render(),
      gauge("process_resident_memory_bytes", "Memory of the orchestrator.", process.memoryUsage().rss),
      gauge("process_cpu_seconds_total", "Processor time of the orchestrator.", (cpu.user + cpu.system) / 1e6),
      gauge("process_start_time_seconds", "When the orchestrator started.", this.#startedAt.getTime() / 1000),
    ].join("");
  }

  async #renderMemory(sessions: readonly Session[]): Promise<string> {
    const memories = await Promise.all(sessions.map(measure));
    const known = memories.filter((memory) => memory !== undefined);
    const sum = (key: "packedBytes" | "fullPrecisionBytes" | "denseBytes" | "tokens"): number =>
      known.reduce((total, memory) => total + memory[key], 0);
    const labels = this.#labels();
    const [packed, full, dense] = [sum("packedBytes"), sum("fullPrecisionBytes"), sum("denseBytes")];
    return [
      renderGauge({ name: "kitty_kv_sessions_open", help: "Sessions that are open." }, [{ value: sessions.length }]),
      renderGauge({ name: "kitty_kv_cache_tokens", help: "Tokens in the KV caches of open sessions." }, [
        { value: sum("tokens"), labels },
      ]),
      renderGauge({ name: "kitty_kv_cache_bytes", help: "Bytes of the KV caches of open sessions." }, [
        { value: packed, labels: { ...labels, kind: "packed" } },
        { value: full, labels: { ...labels, kind: "full_precision" } },
      ]),
      renderGauge({ name: "kitty_kv_cache_dense_bytes", help: "What the same tokens need at 16 bits a number." }, [
        { value: dense, labels },
      ]),
      renderGauge({ name: "kitty_kv_cache_saved_bytes", help: "The difference: KV memory saved." }, [
        { value: dense - packed - full, labels },
      ]),
    ].join("");
  }
}

/** A session's memory, or undefined when it closes or its worker is too busy to say. */
async function measure(session: Session) {
  try {
    return await session.memory({ signal: AbortSignal.timeout(MEMORY_TIMEOUT_MS) });
  } catch {
    return undefined;
  }
}

function gauge(name: string, help: string, value: number): string {
  return renderGauge({ name, help }, [{ value }]);
}
