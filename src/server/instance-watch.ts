import { listInstances, type Instance, type InstanceState } from "../apptainer/list-instances.js";
import type { NewEvent } from "../job/event.js";
import type { EventLog } from "../job/event-log.js";

const INTERVAL_MS = 2000;

export interface InstanceWatchOptions {
  /** undefined until there is a log. */
  log: () => EventLog | undefined;
  onDefect: (error: unknown) => void;
}

/**
 * Writes into the event log what becomes of instances. Whoever starts, stops or kills one, in this process or another,
 * shows in its files and processes, so looking at those misses nobody.
 */
export class InstanceWatch {
  readonly #options: InstanceWatchOptions;
  readonly #known = new Map<string, InstanceState>();
  readonly #timer: NodeJS.Timeout;
  #looking: Promise<void> | undefined;
  #failure: string | undefined;

  constructor(options: InstanceWatchOptions) {
    this.#options = options;
    this.#timer = setInterval(() => void this.look(), INTERVAL_MS);
    this.#timer.unref();
  }

  /** Looks now; whoever just changed something need not wait for the next time. */
  async look(): Promise<void> {
    // One that began before the change may not have seen it.
    await this.#looking;
    this.#looking ??= this.#look();
    await this.#looking;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    try {
      const log = this.#options.log();
      if (log === undefined) return;
      const events = this.#compare(await listInstances());
      if (events.length > 0) log.appendAll(events);
      this.#failure = undefined;
    } catch (error) {
      const failure = error instanceof Error ? error.message : String(error);
      // The same every two seconds would hide everything else.
      if (failure !== this.#failure) this.#options.onDefect(error);
      this.#failure = failure;
    } finally {
      this.#looking = undefined;
    }
  }

  #compare(instances: readonly Instance[]): NewEvent[] {
    const events: NewEvent[] = [];
    const tell = (id: string, state: InstanceState | null, data: object): void => {
      const previous = this.#known.get(id) ?? null;
      if (previous === state) return;
      events.push({ topic: "instance", type: "instance.state", id, data: { state, previous, ...data } });
      if (state === null) this.#known.delete(id);
      else this.#known.set(id, state);
    };
    const names = new Set(instances.map(({ name }) => name));
    // Its state is null once nothing is left of it.
    for (const name of [...this.#known.keys()]) if (!names.has(name)) tell(name, null, {});
    for (const { name, state, image, overlay, visibleDevices } of instances) {
      tell(name, state, { image, overlay, visibleDevices });
    }
    return events;
  }
}
