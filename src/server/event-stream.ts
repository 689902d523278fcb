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
    await this.#write(`data: ${data}\n\n`);
  }

  /** Writes what clients skip, so that they and whatever is between know that the server lives. */
  async comment(text: string): Promise<void> {
    // One who does not read what is there needs no sign of life on top.
    if (this.#response.writableNeedDrain) return;
    await this.#write(`: ${text}\n\n`);
  }

  async #write(text: string): Promise<void> {
    if (this.#signal.aborted) return;
    if (!this.isStarted) {
      this.#response.setHeader("content-type", "text/event-stream; charset=utf-8");
      // nginx holds back what it proxies without this.
      this.#response.setHeader("x-accel-buffering", "no");
      this.#response.flushHeaders();
    }
    if (this.#response.write(text)) return;
    // A client that is gone never drains; its signal ends the generation.
    await once(this.#response, "drain", { signal: this.#signal }).catch(() => undefined);
  }

  end(): void {
    this.#response.end();
  }
}
