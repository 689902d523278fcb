import type { NewEvent } from "../job/event.js";
import type { EventLog } from "../job/event-log.js";
import { KittyError } from "../errors.js";
import type { GenerationResult } from "./generation-stream.js";
import type { Session } from "./session.js";

// A busy server has hundreds of these a second, and the disk should not be asked to keep each by itself.
const GATHER_MS = 20;

/**
 * Writes what happens to sessions into the event log. Those of a few milliseconds are one write, and subscribers hear of
 * them once they are on disk. Without a log there is nobody to tell.
 */
export class SessionEvents {
  readonly #log: () => EventLog | undefined;
  readonly #onError: (error: unknown) => void;
  #pending: NewEvent[] = [];
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param log the log of this orchestrator, or undefined where it keeps none
   * @param onError hears when the log cannot be written; sessions go on
   */
  constructor(log: () => EventLog | undefined, onError: (error: unknown) => void) {
    this.#log = log;
    this.#onError = onError;
  }

  opened({ id, model, cache }: Session, forkOf: string | null): void {
    this.#add(id, "session.opened", { model: model.name, preset: cache["preset"] ?? null, forkOf });
  }

  closed({ id }: Session): void {
    this.#add(id, "session.closed", {});
  }

  /** Its worker is gone, and its cache with it. */
  lost({ id }: Session, error: KittyError): void {
    this.#add(id, "session.lost", { error: error.toJSON() });
  }

  /**
   * Tells of a generation's start now.
   * @returns what tells of its end, with what it cost
   */
  generation({ id }: Session, generation: string): (outcome: GenerationResult | KittyError) => void {
    this.#add(id, "generation.started", { generation });
    return (outcome) => {
      if (outcome instanceof KittyError) this.#add(id, "generation.failed", { generation, error: outcome.toJSON() });
      else this.#add(id, "generation.finished", { generation, ...summary(outcome) });
    };
  }

  /** Writes what still waits. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const events = this.#pending.splice(0);
    if (events.length === 0) return;
    try {
      this.#log()?.appendAll(events);
    } catch (error) {
      this.#onError(error);
    }
  }

  #add(id: string, type: string, data: NewEvent["data"]): void {
    if (this.#log() === undefined) return;
    this.#pending.push({ topic: "session", type, id, data });
    this.#timer ??= setTimeout(() => {
      this.flush();
    }, GATHER_MS);
  }
}

/** All but the text, which is the session's own. */
function summary({ finishReason, usage, timeToFirstTokenMs, tokensPerSecond, metrics, kvCache }: GenerationResult) {
  return { finishReason, usage, timeToFirstTokenMs, tokensPerSecond, metrics, kvCache };
}
