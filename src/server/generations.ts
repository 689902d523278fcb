import { KittyError } from "../errors.js";
import type { GenerateOptions } from "../orchestrator/generate-input.js";
import type { GenerationStream } from "../orchestrator/generation-stream.js";
import type { Session } from "../orchestrator/session.js";
import type { ServerMetrics } from "./metrics/server-metrics.js";

export type GenerateInput = Parameters<Session["generate"]>[0];

/** Every generation that is asked for over HTTP goes through here: none above the limit, all of them counted. */
export class Generations {
  readonly #limit: number;
  readonly #metrics: ServerMetrics;
  #taken = 0;

  constructor(limit: number, metrics: ServerMetrics) {
    this.#limit = limit;
    this.#metrics = metrics;
  }

  /**
   * Runs work that has places for so many generations, taken before anything is opened for them.
   * @throws KittyError `queue_full`
   */
  async reserve<T>(count: number, work: () => Promise<T>): Promise<T> {
    if (this.#taken + count > this.#limit) {
      throw new KittyError(
        `Cannot generate: ${String(this.#taken)} generations run or wait and server.maxGenerations is ${String(this.#limit)}; try again later`,
        { code: "queue_full", details: { running: this.#taken, limit: this.#limit } },
      );
    }
    this.#taken += count;
    try {
      return await work();
    } finally {
      this.#taken -= count;
    }
  }

  /** How many run or wait. */
  get count(): number {
    return this.#taken;
  }

  /** Starts one in a place that was reserved. */
  start(session: Session, input: GenerateInput, options: GenerateOptions): GenerationStream {
    const stream = session.generate(input, options);
    this.#metrics.generations.follow(stream);
    return stream;
  }
}
