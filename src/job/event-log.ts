import type { KittyEvent, NewEvent } from "./event.js";

export interface SubscribeOptions {
  /** Only what happened to this job, session, instance or overlay, and snapshots. */
  id?: string | undefined;
  /** Hears, once, why no event will follow any more: this Kitty was closed, or its server is gone for good. */
  onError?: ((error: unknown) => void) | undefined;
}

/** Everything that happened, to be followed from this process or from another; whoever was away reads on. */
export interface EventFeed {
  /** The number of the latest event; 0 when there was none yet. */
  latest(): Promise<number>;

  /**
   * Events after `since`, oldest first, at most `limit`. When events after `since` were removed by retention, the first
   * one is of type `snapshot`: its `seq` is the last removed one, its `data.jobs` counts the jobs by state.
   */
  page(since: number, limit?: number): Promise<KittyEvent[]>;

  /**
   * Calls `listener` with every event after `since` in order, each once, first those in the log and then those to come.
   * @returns what ends it; no call comes after that
   */
  subscribe(since: number, listener: (event: KittyEvent) => void, options?: SubscribeOptions): () => void;
}

/** The durable log itself, of the orchestrator that writes it. */
export interface EventLog extends EventFeed {
  /** Writes an event to disk, then tells subscribers. */
  append(event: NewEvent): KittyEvent;

  /** The same for many, in one write: all of them or none. */
  appendAll(events: readonly NewEvent[]): KittyEvent[];

  /** `page`, at once. */
  read(since: number, limit?: number): KittyEvent[];

  /** `latest`, at once. */
  readonly lastSeq: number;
}
