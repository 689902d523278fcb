import { CancelledError } from "../index.js";

/** Ctrl-C: the first asks the command to end, the second ends the process. */
export class Interrupt implements Disposable {
  readonly #controller = new AbortController();
  #onFirst: (() => void) | undefined;
  #count = 0;
  readonly #handle = (): void => {
    this.#count += 1;
    // Workers are killed when the process exits.
    if (this.#count > 1) process.exit(130);
    if (this.#onFirst === undefined) this.#controller.abort();
    else this.#onFirst();
  };

  constructor() {
    process.on("SIGINT", this.#handle);
    process.on("SIGTERM", this.#handle);
    process.on("SIGHUP", this.#handle);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  throwIfAborted(what: string): void {
    if (this.signal.aborted) throw new CancelledError(`Cannot ${what}: it was interrupted`);
  }

  /** While `work` runs, Ctrl-C ends only the work; what is pressed before the work ended counts as the second. */
  async during<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const inner = new AbortController();
    this.#onFirst = () => {
      inner.abort();
    };
    try {
      return await work(inner.signal);
    } finally {
      this.#onFirst = undefined;
      this.#count = 0;
    }
  }

  /** Resolves at the first Ctrl-C. */
  async wait(): Promise<void> {
    if (this.signal.aborted) return;
    // A signal handler alone does not keep the process alive.
    const timer = setInterval(() => undefined, 2 ** 30);
    await new Promise((resolve) => {
      this.signal.addEventListener("abort", resolve, { once: true });
    });
    clearInterval(timer);
  }

  [Symbol.dispose](): void {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.off(signal, this.#handle);
  }
}
