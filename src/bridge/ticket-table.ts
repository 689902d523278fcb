import { openEnvelope, type Outcome } from "./envelope.js";

/** Outcomes of long calls, which arrive as events after (or just before) the reply that names their ticket. */
export class TicketTable {
  readonly #waiting = new Map<number, (outcome: Outcome) => void>();
  readonly #early = new Map<number, Outcome>();

  outcome(ticket: number): Promise<Outcome> {
    const early = this.#early.get(ticket);
    if (early === undefined) return new Promise((resolve) => this.#waiting.set(ticket, resolve));
    this.#early.delete(ticket);
    return Promise.resolve(early);
  }

  /**
   * @param unreadReplies how many may still bring a ticket: no more outcomes than that can be early
   * @returns why the event is refused, if it is
   */
  settle(ticket: number, value: unknown, unreadReplies: number): string | undefined {
    const outcome = openEnvelope(value);
    if (outcome === undefined) return `an outcome of ticket ${String(ticket)} with neither result nor error`;
    const resolve = this.#waiting.get(ticket);
    if (resolve !== undefined) {
      this.#waiting.delete(ticket);
      resolve(outcome);
    } else if (this.#early.has(ticket) || this.#early.size >= unreadReplies) {
      return `an outcome of ticket ${String(ticket)}, which nobody holds`;
    } else {
      this.#early.set(ticket, outcome);
    }
    return undefined;
  }
}
