const REDRAW_MS = 200;
const REMINDER_MS = 30_000;

/** Says what set-up is doing: one line that is redrawn on a terminal, plain lines elsewhere. */
export class Progress {
  #out;
  #startedAt = performance.now();
  #detail = "";

  constructor(out) {
    this.#out = out;
  }

  /** The last line a command printed, shown beside the step on a terminal. */
  set detail(text) {
    this.#detail = text;
  }

  async during(name, work) {
    const startedAt = performance.now();
    this.#detail = "";
    const isTerminal = this.#out.isTTY === true;
    if (!isTerminal) this.#out.write(`Set-up: ${name} …\n`);
    const show = () => this.#show(name, performance.now() - startedAt, isTerminal);
    const timer = setInterval(show, isTerminal ? REDRAW_MS : REMINDER_MS);
    try {
      const result = await work();
      this.#clear(isTerminal);
      this.#out.write(`Set-up: ${name} done in ${seconds(performance.now() - startedAt)}\n`);
      return result;
    } catch (error) {
      this.#clear(isTerminal);
      throw error;
    } finally {
      clearInterval(timer);
    }
  }

  say(text) {
    this.#clear(this.#out.isTTY === true);
    this.#out.write(`Set-up: ${text}\n`);
  }

  interrupt() {
    this.say("interrupted, what was half made is removed");
  }

  close() {
    this.say(`ready in ${seconds(performance.now() - this.#startedAt)}`);
  }

  #show(name, elapsedMs, isTerminal) {
    const text = `Set-up: ${name} … ${seconds(elapsedMs)}`;
    if (!isTerminal) return this.#out.write(`${text}\n`);
    const room = Math.max(0, (this.#out.columns ?? 80) - text.length - 4);
    return this.#out.write(`\r\x1b[2K${text}  ${this.#detail.slice(0, room)}`);
  }

  #clear(isTerminal) {
    if (isTerminal) this.#out.write("\r\x1b[2K");
  }
}

function seconds(ms) {
  return ms < 10_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 1000)} s`;
}
