import type { KvCacheMemory } from "../../bridge/messages.js";
import { readGpus, type GpuUsage } from "../../runner/read-gpus.js";
import type { Sessions } from "../sessions.js";
import type { Session } from "../session.js";

/** One look at everything that is open. */
export interface UsageSample {
  time: string;
  sessions: number;
  /** Generations that wait or run. */
  running: number;
  /** Mean since the look before. */
  tokensPerSecond: number;
  tokens: number;
  packedBytes: number;
  fullPrecisionBytes: number;
  denseBytes: number;
  gpus: readonly GpuUsage[];
}

const INTERVAL_MS = 5000;
/** One hour. */
const KEPT = 720;
const MEMORY_TIMEOUT_MS = 2000;

type Memories = Pick<UsageSample, "tokens" | "packedBytes" | "fullPrecisionBytes" | "denseBytes">;

/** Looks at the sessions of a Kitty every few seconds, and keeps the last hour. */
export class UsageHistory {
  readonly intervalSeconds = INTERVAL_MS / 1000;
  readonly #sessions: Sessions;
  readonly #samples: UsageSample[] = [];
  #timer: NodeJS.Timeout | undefined;
  #last: { tokens: number; at: number };
  #hasGpus = true;

  constructor(sessions: Sessions) {
    this.#sessions = sessions;
    this.#last = { tokens: sessions.meter.generatedTokens, at: performance.now() };
    this.#schedule();
  }

  /** The oldest first. */
  get samples(): readonly UsageSample[] {
    return this.#samples;
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  async #look(): Promise<void> {
    const { meter, all } = this.#sessions;
    const [memories, gpus] = await Promise.all([measureAll(all), this.#gpus()]);
    const [tokens, at] = [meter.generatedTokens, performance.now()];
    const tokensPerSecond = ((tokens - this.#last.tokens) * 1000) / (at - this.#last.at);
    this.#last = { tokens, at };
    const time = new Date().toISOString();
    this.#samples.push({ time, sessions: all.length, running: meter.running, tokensPerSecond, ...memories, gpus });
    if (this.#samples.length > KEPT) this.#samples.shift();
  }

  /** The next look begins when this one is done, so that slow ones never pile up. */
  #schedule(): void {
    this.#timer = setTimeout(() => {
      void this.#look().finally(() => {
        if (this.#timer !== undefined) this.#schedule();
      });
    }, INTERVAL_MS);
    this.#timer.unref();
  }

  async #gpus(): Promise<readonly GpuUsage[]> {
    if (!this.#hasGpus) return [];
    try {
      const gpus = await readGpus();
      this.#hasGpus = gpus !== undefined;
      return gpus ?? [];
    } catch {
      // A driver that does not answer in time may do so later.
      return [];
    }
  }
}

async function measureAll(sessions: readonly Session[]): Promise<Memories> {
  const measured = await Promise.all(sessions.map(measure));
  const known = measured.filter((memory) => memory !== undefined);
  const sum = (key: keyof Memories): number => known.reduce((total, memory) => total + memory[key], 0);
  return {
    tokens: sum("tokens"),
    packedBytes: sum("packedBytes"),
    fullPrecisionBytes: sum("fullPrecisionBytes"),
    denseBytes: sum("denseBytes"),
  };
}

/** A session's memory, or undefined when it closes or its worker is too busy to say. */
async function measure(session: Session): Promise<KvCacheMemory | undefined> {
  try {
    return await session.memory({ signal: AbortSignal.timeout(MEMORY_TIMEOUT_MS) });
  } catch {
    return undefined;
  }
}
