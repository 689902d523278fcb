import { TimeoutError, type WorkerExitedError } from "../errors.js";
import type { Child, ChildExit } from "../process/child.js";
import { stopChild, type StopLimits } from "../process/stop-child.js";
import { deferred } from "../util/deferred.js";
import { abortable, throwIfAborted } from "./abortable.js";
import { parseEnvelope, type Outcome } from "./envelope.js";
import type { FileExchange } from "./file-exchange.js";
import { fromWireError } from "./from-wire-error.js";
import { startHeartbeat, type HeartbeatOptions } from "./heartbeat.js";
import { METHODS, ticketSchema } from "./messages.js";
import { createPythoniaBridge, type PythoniaBridge } from "./pythonia.js";
import { StdioTransport } from "./stdio-transport.js";
import { StreamTable } from "./stream-table.js";
import { TicketTable } from "./ticket-table.js";
import { parseEvent, type WorkerHello, type WorkerReady } from "./worker-events.js";
import { describeExit } from "./worker-exit.js";

// A killed process is normally gone in milliseconds; callers do not wait longer for one stuck in the kernel.
const KILL_TIMEOUT_MS = 500;
const EXIT_AFTER_END_MS = 1000;

export interface WorkerLog {
  /** Where the text came from: what Python code printed, the worker's own messages, or what its runner says of its start. */
  stream: "stdout" | "stderr" | "worker" | "runner";
  text: string;
}

export interface WorkerBridgeOptions {
  heartbeat: HeartbeatOptions;
  onLog: (log: WorkerLog) => void;
  /** How files get to and from the worker; without one it sees this machine's own paths. */
  exchange?: FileExchange | undefined;
}

export interface CallOptions {
  timeoutMs?: number | undefined;
  signal?: AbortSignal | undefined;
}

const DEFAULT_CALL_TIMEOUT_MS = 60_000;

/** One Python worker behind pythonia's Bridge: calls with deadlines, token streams, and one clear end. */
export class WorkerBridge {
  /** Settle when the worker said it started, and when its heavy imports are done; reject when it ends before. */
  readonly hello: Promise<WorkerHello>;
  readonly ready: Promise<WorkerReady>;
  /** Resolves with what every pending call was rejected with, once the worker is gone. */
  readonly exited: Promise<WorkerExitedError>;
  readonly streams = new StreamTable();

  readonly #child: Child;
  readonly #options: WorkerBridgeOptions;
  readonly #bridge: PythoniaBridge;
  readonly #transport: StdioTransport;
  readonly #tickets = new TicketTable();
  readonly #pending = new Set<(error: WorkerExitedError) => void>();
  readonly #hello = deferred<WorkerHello>();
  readonly #ready = deferred<WorkerReady>();
  readonly #exited = deferred<WorkerExitedError>();
  #stopHeartbeat = (): void => undefined;
  /** Replies that are due or not looked at yet; any of them may bring a ticket. */
  #unreadReplies = 0;
  #hasHello = false;
  #reason: string | undefined;
  #error: WorkerExitedError | undefined;

  constructor(child: Child, options: WorkerBridgeOptions) {
    this.#child = child;
    this.#options = options;
    this.hello = this.#hello.promise;
    this.ready = this.#ready.promise;
    this.exited = this.#exited.promise;
    // Nobody has to wait for these two; calls fail on their own.
    this.hello.catch(() => undefined);
    this.ready.catch(() => undefined);
    this.#transport = new StdioTransport(child.stdin, child.stdout, {
      onEvent: (event) => this.#takeEvent(event),
      onNoise: (text) => {
        options.onLog({ stream: "stdout", text });
      },
      onViolation: (reason) => {
        this.kill(reason);
      },
    });
    this.#bridge = createPythoniaBridge(this.#transport);
    child.stdout.once("end", () => void this.#expectExit());
    void child.exited.then((exit) => {
      this.#finish(exit);
    });
  }

  /** See `WorkerBridgeOptions`. */
  get exchange(): FileExchange | undefined {
    return this.#options.exchange;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /**
   * Calls a method of the worker and waits for its outcome, also when that arrives later as an event.
   * @throws WorkerExitedError, TimeoutError, CancelledError, or what the worker answered
   */
  async call(method: string, params: object, options: CallOptions = {}): Promise<unknown> {
    const what = `finish "${method}" in the worker`;
    throwIfAborted(options.signal, what);
    const answer = this.#withDeadline(
      method,
      this.#request(method, params),
      options.timeoutMs ?? DEFAULT_CALL_TIMEOUT_MS,
    );
    const outcome = await abortable(answer, options.signal, what);
    if ("error" in outcome) throw fromWireError(outcome.error);
    return outcome.ok;
  }

  /** Asks the worker to leave, and makes sure that it does. */
  async stop(limits: StopLimits): Promise<void> {
    this.#reason ??= "it was stopped";
    this.#stopHeartbeat();
    if (this.#hasHello) {
      // Whatever the answer is, the steps below end the process.
      await this.call("shutdown", {}, { timeoutMs: limits.graceMs }).catch(() => undefined);
    }
    await stopChild(this.#child, limits);
    await this.exited;
  }

  /** Ends a worker that cannot be trusted any more; all its calls reject with an error that gives the reason. */
  kill(reason: string): void {
    if (this.#error !== undefined) return;
    this.#reason ??= reason;
    this.#transport.close();
    this.#child.kill("SIGKILL");
    const timer = setTimeout(() => {
      this.#finish({ exitCode: null, signal: "SIGKILL", stderrTail: [], startError: undefined });
    }, KILL_TIMEOUT_MS);
    void this.exited.then(() => {
      clearTimeout(timer);
    });
  }

  async #request(method: string, params: object): Promise<Outcome> {
    if (this.#error !== undefined) throw this.#error;
    this.#unreadReplies++;
    const reply = await this.#bridge.call(0, ["invoke"], [method, JSON.stringify(params)], {}, false, Infinity);
    this.#unreadReplies--;
    const outcome = parseEnvelope(reply as string);
    if (outcome === undefined) return this.#refuse(`an answer to "${method}" with neither result nor error`);
    if ("error" in outcome) return outcome;
    const { data } = ticketSchema.safeParse(outcome.ok);
    return data === undefined ? outcome : this.#tickets.outcome(data.ticket);
  }

  /** Rejects with the death of the worker or the end of the time, whichever comes before the outcome. */
  #withDeadline(method: string, outcome: Promise<Outcome>, timeoutMs: number): Promise<Outcome> {
    return new Promise<Outcome>((resolve, reject) => {
      const timer = setTimeout(() => {
        const message = `Cannot finish "${method}": no answer from the worker in ${String(timeoutMs)} ms`;
        fail(new TimeoutError(message, { details: { method, timeoutMs } }));
      }, timeoutMs);
      const release = (): void => {
        clearTimeout(timer);
        this.#pending.delete(fail);
      };
      const fail = (error: Error): void => {
        release();
        reject(error);
      };
      this.#pending.add(fail);
      outcome.then((value) => {
        release();
        resolve(value);
      }, fail);
    });
  }

  #takeEvent(value: unknown): string | undefined {
    const event = parseEvent(value);
    if (event.kind === "tok" && this.#hasHello) return this.streams.takeTokens(event.stream, event);
    if ((event.kind === "hello") === this.#hasHello) return `an event out of turn: ${event.kind}`;
    switch (event.kind) {
      case "hello":
        this.#greet(event.hello);
        return undefined;
      case "ready":
        this.#ready.resolve(event.ready);
        return undefined;
      case "log":
        this.#options.onLog({ stream: event.stream, text: event.text });
        return undefined;
      case "end":
        return this.streams.takeEnd(event.stream, event.outcome);
      case "settled":
        return this.#tickets.settle(event.ticket, event.outcome, this.#unreadReplies);
      default:
        return `an event that is not valid: ${JSON.stringify(value).slice(0, 120)}`;
    }
  }

  #greet(hello: WorkerHello): void {
    this.#hasHello = true;
    this.#transport.open();
    this.#stopHeartbeat = startHeartbeat(
      async () => METHODS.ping.result.parse(await this.call("ping", {}, { timeoutMs: 2 ** 31 - 1 })),
      this.#options.heartbeat,
      (reason) => {
        this.kill(reason);
      },
    );
    this.#hello.resolve(hello);
  }

  /** A worker that closed its output can never answer again, so it must leave. */
  async #expectExit(): Promise<void> {
    const timer = setTimeout(() => {
      this.kill("it closed its output");
    }, EXIT_AFTER_END_MS);
    await this.exited;
    clearTimeout(timer);
  }

  async #refuse(found: string): Promise<never> {
    this.kill(`the worker sent ${found}`);
    throw await this.exited;
  }

  #finish(exit: ChildExit): void {
    if (this.#error !== undefined) return;
    if (this.#transport.hasHalfFrame) this.#reason ??= "it ended in the middle of a frame";
    const error = describeExit(exit, this.#reason);
    this.#error = error;
    this.#stopHeartbeat();
    this.#transport.close();
    this.#bridge.end();
    for (const fail of [...this.#pending]) fail(error);
    this.#hello.reject(error);
    this.#ready.reject(error);
    this.#exited.resolve(error);
    this.streams.failAll(error);
  }
}
