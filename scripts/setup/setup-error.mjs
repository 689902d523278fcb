const SHOWN_LINES = 15;

/** A set-up step that failed: which one, what happened, its last output, and what to do. */
export class SetupError extends Error {
  constructor(step, found, { output = [], remedy, exitCode = 1, cause } = {}) {
    super(`Set-up step "${step}" failed: ${found}`, cause === undefined ? undefined : { cause });
    this.name = "SetupError";
    this.step = step;
    this.output = output;
    this.remedy = remedy;
    this.exitCode = exitCode;
  }

  /** The text for a person: one sentence, the last output lines, the remedy. */
  report() {
    const lines = this.output.slice(-SHOWN_LINES).map((line) => `  | ${line}`);
    const remedy = this.remedy === undefined ? [] : [`To do: ${this.remedy}`];
    return [this.message, ...lines, ...remedy].join("\n");
  }
}
