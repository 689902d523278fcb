import { abortable } from "../bridge/abortable.js";
import type { WorkerLog } from "../bridge/worker-bridge.js";
import type { EngineMetrics } from "../bridge/messages.js";
import { WorkerClient } from "../bridge/worker-client.js";
import type { Config } from "../config/schema.js";
import type { Runner } from "../runner/runner.js";

const STOP_LIMITS = { graceMs: 5000, killAfterMs: 2000 };

/** A session's place in a worker, for as long as both live. */
export interface WorkerPlace {
  client: WorkerClient;
  /** Gives the place back; does nothing the second time. */
  leave: () => void;
  /** A further place in the same worker, for what must be where this session is. */
  another: () => WorkerPlace;
}

interface Member {
  client: Promise<WorkerClient>;
  sessions: number;
  idleTimer?: NodeJS.Timeout | undefined;
}

/**
 * The workers that sessions share. A session stays in the worker it was opened in; new ones go to the least busy, to a
 * new worker once all are full, and a worker that stands empty is stopped. One that dies is replaced when it is wanted.
 */
export class WorkerPool {
  readonly #runner: Runner;
  readonly #limits: Config["pool"];
  readonly #onLog: (log: WorkerLog) => void;
  readonly #members = new Set<Member>();

  constructor(runner: Runner, limits: Config["pool"], onLog: (log: WorkerLog) => void) {
    this.#runner = runner;
    this.#limits = limits;
    this.#onLog = onLog;
  }

  /** Starts as many workers as there always are, and resolves when they said hello. */
  async fill(signal: AbortSignal | undefined): Promise<void> {
    while (this.#members.size < this.#limits.min) this.#add();
    await Promise.all([...this.#members].map(({ client }) => abortable(client, signal, "start a worker")));
  }

  /** What the engines of the workers do that answer in time; one that starts or ends is left out. */
  async engineMetrics(timeoutMs: number): Promise<EngineMetrics[]> {
    const asked = [...this.#members].map(async ({ client }) => {
      try {
        const signal = AbortSignal.timeout(timeoutMs);
        return await (await abortable(client, signal, "ask a worker")).engineMetrics({ signal });
      } catch {
        return undefined;
      }
    });
    return (await Promise.all(asked)).filter((metrics) => metrics !== undefined);
  }

  /** A place for one session; an aborted signal stops the waiting, not the worker that others wait for. */
  async join(signal: AbortSignal | undefined): Promise<WorkerPlace> {
    while (this.#members.size < this.#limits.min) this.#add();
    const member = this.#choose();
    const leave = this.#enter(member);
    try {
      return this.#placeIn(member, await abortable(member.client, signal, "start a worker"), leave);
    } catch (error) {
      leave();
      throw error;
    }
  }

  /** @returns what gives the place back */
  #enter(member: Member): () => void {
    member.sessions += 1;
    clearTimeout(member.idleTimer);
    return once(() => {
      this.#leave(member);
    });
  }

  #placeIn(member: Member, client: WorkerClient, leave: () => void): WorkerPlace {
    return { client, leave, another: () => this.#placeIn(member, client, this.#enter(member)) };
  }

  #choose(): Member {
    const [least] = [...this.#members].sort((a, b) => a.sessions - b.sessions);
    const isFull = least === undefined || least.sessions >= this.#limits.sessionsPerWorker;
    return isFull && this.#members.size < this.#limits.max ? this.#add() : (least ?? this.#add());
  }

  #add(): Member {
    const member: Member = {
      client: this.#start(() => {
        this.#remove(member);
      }),
      sessions: 0,
    };
    // Whoever waits for it hears of it.
    member.client.catch(() => undefined);
    this.#members.add(member);
    return member;
  }

  async #start(onEnd: () => void): Promise<WorkerClient> {
    try {
      const bridge = await this.#runner.startWorker({ onLog: this.#onLog });
      void bridge.exited.then(onEnd);
      return new WorkerClient(bridge);
    } catch (error) {
      onEnd();
      throw error;
    }
  }

  #leave(member: Member): void {
    member.sessions -= 1;
    if (member.sessions > 0) return;
    member.idleTimer = setTimeout(() => {
      void this.#retire(member);
    }, this.#limits.idleTimeoutMs);
    member.idleTimer.unref();
  }

  async #retire(member: Member): Promise<void> {
    if (member.sessions > 0 || this.#members.size <= this.#limits.min || !this.#members.has(member)) return;
    this.#remove(member);
    const { bridge } = await member.client;
    await bridge.stop(STOP_LIMITS);
  }

  #remove(member: Member): void {
    clearTimeout(member.idleTimer);
    this.#members.delete(member);
  }
}

function once(work: () => void): () => void {
  let isDone = false;
  return () => {
    if (isDone) return;
    isDone = true;
    work();
  };
}
