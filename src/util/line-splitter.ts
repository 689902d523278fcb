const NEWLINE = 0x0a;

export interface LineSplitterOptions {
  limitBytes: number;
  onLine: (line: Buffer) => void;
  /** Called with what was gathered when a line grows over the limit; gathering then starts anew. */
  onTooLong: (part: Buffer) => void;
}

/** Cuts a byte stream at newlines, whatever the chunk boundaries; the limit counts bytes without the newline. */
export class LineSplitter {
  limitBytes: number;
  readonly #options: LineSplitterOptions;
  #parts: Buffer[] = [];
  #pendingBytes = 0;
  #isStopped = false;

  constructor(options: LineSplitterOptions) {
    this.#options = options;
    this.limitBytes = options.limitBytes;
  }

  /** How many bytes of an unfinished line are held. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  push(chunk: Buffer): void {
    let start = 0;
    while (!this.#isStopped && start < chunk.length) {
      const newline = chunk.indexOf(NEWLINE, start);
      const end = newline === -1 ? chunk.length : newline;
      this.#gather(chunk.subarray(start, end));
      if (newline !== -1) this.#emit();
      start = end + 1;
    }
  }

  /** Hands out an unfinished last line. */
  flush(): void {
    if (this.#pendingBytes > 0) this.#emit();
  }

  /** Drops what is held and ignores all further input, also when called from inside a callback. */
  stop(): void {
    this.#isStopped = true;
    this.#take();
  }

  #gather(part: Buffer): void {
    if (part.length === 0) return;
    this.#parts.push(part);
    this.#pendingBytes += part.length;
    if (this.#pendingBytes > this.limitBytes) this.#options.onTooLong(this.#take());
  }

  #emit(): void {
    if (!this.#isStopped) this.#options.onLine(this.#take());
  }

  #take(): Buffer {
    const [first] = this.#parts;
    const line = this.#parts.length === 1 && first !== undefined ? first : Buffer.concat(this.#parts);
    this.#parts = [];
    this.#pendingBytes = 0;
    return line;
  }
}
