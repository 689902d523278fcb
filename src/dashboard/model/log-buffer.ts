/** So many lines are kept; a page that holds more is of no use to anybody. */
export const MOST_LINES = 50_000;

export interface LogPart {
  text: string;
  offset: number;
  nextOffset: number;
}

/** A part of a log as lines; it grows at its end as the job writes, and at its beginning when somebody asks for more. */
export class LogBuffer {
  readonly lines: string[] = [];
  #start = 0;
  #next = 0;
  /** The last line, while its end has not come. */
  #rest = "";

  /** @param start the byte to begin at; a line that it cuts is left out */
  constructor(start = 0) {
    this.#start = start;
    this.#next = start;
  }

  /** The byte that the first line begins at. */
  get start(): number {
    return this.#start;
  }

  /** The byte to go on from. */
  get next(): number {
    return this.#next;
  }

  /** The line that is still being written. */
  get rest(): string {
    return this.#rest;
  }

  append({ text, nextOffset }: LogPart): void {
    let more = this.#rest + text;
    if (this.lines.length === 0 && this.#rest === "" && this.#start > 0 && this.#next === this.#start) {
      const end = more.indexOf("\n");
      if (end !== -1) {
        this.#start += byteLength(more.slice(0, end + 1));
        more = more.slice(end + 1);
      }
    }
    const lines = more.split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.lines.push(line);
    this.#next = nextOffset;
    this.#dropOldest();
  }

  /** Puts what comes before in front; its first line is left out where the part begins within one. */
  prepend({ text, offset }: LogPart): void {
    const cut = offset === 0 ? 0 : text.indexOf("\n") + 1;
    const lines = text.slice(cut).split("\n");
    // The part ends where our first line begins.
    lines.pop();
    this.lines.unshift(...lines);
    this.#start = offset + byteLength(text.slice(0, cut));
  }

  #dropOldest(): void {
    const surplus = this.lines.length - MOST_LINES;
    // Not each by itself: moving all others is slow.
    if (surplus < MOST_LINES / 10) return;
    const dropped = this.lines.splice(0, surplus);
    this.#start += dropped.reduce((sum, line) => sum + byteLength(line) + 1, 0);
  }
}

const encoder = new TextEncoder();

function byteLength(text: string): number {
  return encoder.encode(text).length;
}
