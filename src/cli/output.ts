import { once } from "node:events";
import { KittyError, WorkerExitedError, type WorkerLog } from "../index.js";

export interface OutputOptions {
  isJson: boolean;
  isVerbose: boolean;
}

/** What a command prints: results on stdout, everything about the run on stderr. */
export class Output {
  readonly isJson: boolean;
  readonly #isVerbose: boolean;
  readonly #closed = new AbortController();

  constructor({ isJson, isVerbose }: OutputOptions) {
    this.isJson = isJson;
    this.#isVerbose = isVerbose;
    process.stdout.on("error", (error: NodeJS.ErrnoException) => {
      // Whoever read us has seen enough (`| head`); that is no failure.
      if (error.code !== "EPIPE") throw error;
      this.#closed.abort();
    });
    // With stderr gone there is nobody left to tell.
    process.stderr.on("error", () => undefined);
  }

  /** Aborts when nobody reads stdout any more. */
  get closed(): AbortSignal {
    return this.#closed.signal;
  }

  get isClosed(): boolean {
    return this.#closed.signal.aborted;
  }

  /** Writes a model's text, at the speed of whoever reads it. */
  async text(text: string): Promise<void> {
    await this.#write(process.stdout.isTTY ? withoutControls(text) : text);
  }

  async line(text: string): Promise<void> {
    await this.#write(`${text}\n`);
  }

  async json(document: unknown): Promise<void> {
    await this.#write(`${JSON.stringify(document)}\n`);
  }

  /** About the run, not its result. */
  note(text: string): void {
    process.stderr.write(`${text}\n`);
  }

  /** What the worker says, for those who asked for it; how long a start will take concerns everybody. */
  log = ({ stream, text }: WorkerLog): void => {
    if (stream === "runner") this.note(text);
    else if (this.#isVerbose) this.note(`[${stream}] ${process.stderr.isTTY ? withoutControls(text) : text}`);
  };

  /** What should not happen, in a program that goes on. */
  defect = (error: unknown): void => {
    this.note(`A defect of kitty-kv: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  };

  async error(error: unknown): Promise<void> {
    const { code, message, details } = describeError(error);
    if (this.isJson) {
      await this.json({ error: { code, message, details } });
      return;
    }
    this.note(message);
    if (error instanceof WorkerExitedError) for (const line of error.stderrTail.slice(-15)) this.note(`  | ${line}`);
    if (this.#isVerbose && error instanceof Error) this.note(error.stack ?? "");
  }

  /** Waits until everything is handed to the operating system. */
  async flush(): Promise<void> {
    if (!this.isClosed && process.stdout.writableNeedDrain) await this.#drained();
  }

  async #write(text: string): Promise<void> {
    if (this.isClosed || process.stdout.write(text)) return;
    await this.#drained();
  }

  async #drained(): Promise<void> {
    await once(process.stdout, "drain", { signal: this.closed }).catch((error: unknown) => {
      if (!this.isClosed) throw error;
    });
  }
}

function describeError(error: unknown): Pick<KittyError, "code" | "message" | "details"> {
  if (error instanceof KittyError) return error;
  const found = error instanceof Error ? error.message : String(error);
  const message = `Cannot finish: ${found}, which is a defect of kitty-kv; run again with --verbose and report what it prints`;
  return { code: "internal", message, details: {} };
}

/** A model may write escape sequences; a terminal must not obey them. */
function withoutControls(text: string): string {
  // eslint-disable-next-line no-control-regex -- control characters are what it is about
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "\ufffd");
}
