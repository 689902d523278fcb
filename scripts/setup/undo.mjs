import { rmSync } from "node:fs";

/** Removes what a step has half made, when the step fails or somebody presses Ctrl-C. */
export class Undo {
  #paths = [];
  #child;
  #progress;
  #isInterrupted = false;
  #onSignal = (signal) => this.#interrupt(signal);

  constructor(progress) {
    this.#progress = progress;
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, this.#onSignal);
  }

  /** The process group to end first when we are interrupted. */
  set child(child) {
    this.#child = child;
  }

  /** Runs the work; these paths are removed should it not succeed. */
  async guard(paths, work) {
    this.#paths = paths;
    try {
      const result = await work();
      this.#paths = [];
      return result;
    } catch (error) {
      // An interrupted command fails as well, but then the handler below has the last word.
      if (this.#isInterrupted) return await new Promise(() => undefined);
      this.#remove();
      throw error;
    }
  }

  dispose() {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.off(signal, this.#onSignal);
  }

  async #interrupt(signal) {
    if (this.#isInterrupted) return;
    this.#isInterrupted = true;
    await this.#child?.stop();
    this.#remove();
    this.#progress.interrupt();
    process.exit(signal === "SIGINT" ? 130 : 143);
  }

  #remove() {
    for (const path of this.#paths) {
      try {
        rmSync(path, { recursive: true, force: true, maxRetries: 3 });
      } catch (error) {
        process.stderr.write(`Cannot remove ${path}, which is half made: ${error.message}, remove it by hand\n`);
      }
    }
    this.#paths = [];
  }
}
