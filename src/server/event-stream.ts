import { once } from "node:events";
import type { Response } from "express";

/** Server-sent events. Headers go out with the first one, so that what fails before it has a status of its own. */
export class EventStream {
  readonly #response: Response;
  readonly #signal: AbortSignal;

  constructor(response: Response, signal: AbortSignal) {
    this.#response = response;
    this.#signal = signal;
  }

  get isStarted(): boolean {
    return this.#response.headersSent;
  }

  /** Writes one event; resolves when the client has read enough for the next one, or is gone. */
  async send(data: string): Promise<void> {
    if (this.#signal.aborted) return;
    if (!this.isStarted) {
      this.#response.setHeader("content-type", "text/event-stream; charset=utf-8");
      // nginx holds back what it proxies without this.
      this.#response.setHeader("x-accel-buffering", "no");
      this.#response.flushHeaders();
    }
    if (this.#response.write(`data: ${data}\n\n`)) return;
    // A client that is gone never drains; its signal ends the generation.
    await once(this.#response, "drain", { signal: this.#signal }).catch(() => undefined);
  }

  end(): void {
    this.#response.end();
  }
}
