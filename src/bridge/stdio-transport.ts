import type { Readable, Writable } from "node:stream";
import { ConfigError } from "../errors.js";
import { LineSplitter } from "../util/line-splitter.js";
import { FRAME_LIMIT_BYTES, parseFrame } from "./frames.js";
import type { PythoniaCom, PythoniaReply } from "./pythonia.js";

const NOISE_LIMIT_BYTES = 64 * 1024;

export interface TransportEvents {
  /** Returns why the event is not acceptable, or undefined. */
  onEvent: (event: unknown) => string | undefined;
  onNoise: (line: string) => void;
  onViolation: (reason: string) => void;
}

type ReplyHandler = (reply: PythoniaReply) => unknown;

/** pythonia's channel over a worker's stdin and stdout: one JSON object a line, everything else refused. */
export class StdioTransport implements PythoniaCom {
  readonly #stdin: Writable;
  readonly #events: TransportEvents;
  readonly #splitter: LineSplitter;
  readonly #handlers = new Map<number, ReplyHandler>();
  #isOpen = false;
  #noiseBytes = 0;

  constructor(stdin: Writable, stdout: Readable, events: TransportEvents) {
    this.#stdin = stdin;
    this.#events = events;
    this.#splitter = new LineSplitter({
      // Until hello only noise and one short line are due.
      limitBytes: NOISE_LIMIT_BYTES,
      onLine: (line) => {
        this.#receive(line);
      },
      onTooLong: () => {
        this.#refuse(`a line longer than ${String(this.#splitter.limitBytes)} bytes`);
      },
    });
    stdout.on("data", (chunk: Buffer) => {
      this.#splitter.push(chunk);
    });
    stdout.on("error", (error) => {
      this.#refuse(`an output that cannot be read: ${error.message}`);
    });
  }

  /** How many calls have no reply yet. */
  get pendingCalls(): number {
    return this.#handlers.size;
  }

  /** Whether the last bytes received are the beginning of a frame. */
  get hasHalfFrame(): boolean {
    return this.#splitter.pendingBytes > 0;
  }

  /** From hello on every line must be a frame. */
  open(): void {
    this.#isOpen = true;
    this.#splitter.limitBytes = FRAME_LIMIT_BYTES;
  }

  /** Nothing that arrives later is looked at. */
  close(): void {
    this.#splitter.stop();
    this.#handlers.clear();
  }

  /** pythonia offers its JavaScript side here, to be called by Python; that side is never connected. */
  register(): void {
    return;
  }

  /** pythonia sends object requests and answers about JavaScript objects here; we have neither. */
  write(): never {
    throw new Error("Cannot send this message to the worker: only calls with plain arguments cross the bridge");
  }

  writeRaw(payload: string, id: number, callback: ReplyHandler): void {
    const sizeBytes = Buffer.byteLength(payload);
    if (sizeBytes > FRAME_LIMIT_BYTES) {
      throw new ConfigError(
        `Cannot send ${String(sizeBytes)} bytes to the worker in one call: the limit is ${String(FRAME_LIMIT_BYTES)}, send less text`,
        { details: { sizeBytes, limitBytes: FRAME_LIMIT_BYTES } },
      );
    }
    this.#handlers.set(id, callback);
    this.#stdin.write(`${payload}\n`);
  }

  #receive(line: Buffer): void {
    const frame = parseFrame(line);
    switch (frame.kind) {
      case "events":
        for (const event of frame.events) {
          const reason = this.#events.onEvent(event);
          if (reason !== undefined) {
            this.#refuse(reason);
            return;
          }
        }
        return;
      case "reply":
        this.#reply(frame.id, frame.key, frame.value);
        return;
      case "noise":
        this.#hearNoise(line, frame.reason);
        return;
      case "forbidden":
        this.#refuse(frame.reason);
    }
  }

  #reply(id: number, key: "string" | "error", value: string): void {
    const handler = this.#handlers.get(id);
    if (handler === undefined) {
      this.#refuse(`a reply to request ${String(id)}, which nobody made`);
      return;
    }
    this.#handlers.delete(id);
    handler({ r: id, key: "string", val: key === "string" ? value : exceptionEnvelope(value) });
  }

  #hearNoise(line: Buffer, reason: string): void {
    this.#noiseBytes += line.length;
    if (this.#isOpen) this.#refuse(reason);
    else if (this.#noiseBytes > NOISE_LIMIT_BYTES) this.#refuse("more than 64 KiB of text before its first frame");
    else this.#events.onNoise(line.toString("utf8").trimEnd());
  }

  #refuse(found: string): void {
    this.close();
    this.#events.onViolation(`the worker sent ${found}`);
  }
}

/** pythonia reports an exception it caught itself as a traceback; ours come as an envelope already. */
function exceptionEnvelope(traceback: string): string {
  const lines = traceback.trim().split("\n");
  const message = `Cannot finish a call in the Python worker: ${lines.at(-1) ?? "an exception without a text"}`;
  return JSON.stringify({ error: { code: "python_exception", message, details: { traceback } } });
}
