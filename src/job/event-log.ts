import type { KittyEvent, NewEvent } from "./event.js";

/** The durable log of everything that happened; whoever was away reads on from the last number seen. */
export interface EventLog {
  /** Writes an event to disk, then tells subscribers. */
  append(event: NewEvent): KittyEvent;

  /**
   * Events after `since`, oldest first, at most `limit`. When events after `since` were removed by retention, the first
   * one is of type `snapshot`: its `seq` is the last removed one, its `data.jobs` counts the jobs by state.
   */
  read(since: number, limit?: number): KittyEvent[];

  /** The number of the latest event; 0 when there was none yet. */
  readonly lastSeq: number;

  /**
   * Calls `listener` with every event after `since` in order, first those in the log and then those to come.
   * @returns what ends it; no call comes after that
   */
  subscribe(since: number, listener: (event: KittyEvent) => void): () => void;
}
