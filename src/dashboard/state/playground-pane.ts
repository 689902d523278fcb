import { signal } from "@preact/signals";
import type { GenerationResult, KvCacheMemory, ServedSession } from "../../server/wire/sessions.js";
import { ApiError, ask, call, messageOf } from "../api/client.js";
import { download } from "../api/download.js";
import { streamGeneration } from "../api/stream-generation.js";

/** A prompt and what was written after it. */
export interface Turn {
  prompt: string;
  text: string;
}

/** What the last run cost, as it goes and as the server counts it at the end. */
export interface RunFigures {
  tokens: number;
  timeToFirstTokenMs: number | null;
  tokensPerSecond: number | null;
}

export type PaneState = "idle" | "opening" | "generating" | "busy";

const NO_FIGURES: RunFigures = { tokens: 0, timeToFirstTokenMs: null, tokensPerSecond: null };

/** One side of the playground: a session under a preset, and all that was written in it. */
export class PlaygroundPane {
  readonly preset = signal<string>("");
  readonly session = signal<ServedSession | undefined>(undefined);
  readonly turns = signal<readonly Turn[]>([]);
  readonly state = signal<PaneState>("idle");
  readonly figures = signal<RunFigures>(NO_FIGURES);
  readonly memory = signal<KvCacheMemory | undefined>(undefined);
  readonly error = signal<string | undefined>(undefined);
  /** Where the session comes from, when it was not begun here. */
  readonly origin = signal<string | undefined>(undefined);
  #controller: AbortController | undefined;

  constructor(preset: string) {
    this.preset.value = preset;
  }

  /** Goes on in the session with a prompt; opens one first where there is none. */
  async run(prompt: string, options: Readonly<Record<string, unknown>>): Promise<void> {
    if (this.state.value !== "idle") return;
    const controller = (this.#controller = new AbortController());
    this.error.value = undefined;
    try {
      this.state.value = "opening";
      const { id } = (this.session.value ??= await this.#open(controller.signal));
      this.state.value = "generating";
      this.turns.value = [...this.turns.value, { prompt, text: "" }];
      await this.#generate(id, { prompt, ...options }, controller.signal);
    } catch (error) {
      if (!controller.signal.aborted) this.error.value = messageOf(error);
      // Another prompt then opens a new one.
      if (error instanceof ApiError && error.code === "session_not_found") this.session.value = undefined;
    } finally {
      this.state.value = "idle";
      await this.measure();
    }
  }

  stop(): void {
    this.#controller?.abort();
  }

  /** Closes the session and forgets what was written; another preset begins like this. */
  async reset(preset: string = this.preset.value): Promise<void> {
    this.stop();
    const old = this.session.value;
    this.#adopt(undefined, preset, [], undefined);
    if (old !== undefined) await call(path(old.id), { method: "DELETE" }).catch(() => undefined);
  }

  /** The whole session as a file. */
  async save(): Promise<void> {
    const session = this.session.value;
    if (session === undefined) return;
    await this.#busy(async () => {
      const blob = await (await ask(`${path(session.id)}/saved`)).blob();
      download(blob, `session-${session.id}.kitty`);
    });
  }

  /** Goes on with a session out of a file, in place of the one that is here. */
  async restore(file: File): Promise<void> {
    await this.#busy(async () => {
      const headers = { "content-type": "application/octet-stream" };
      const session = await call<ServedSession>("/api/sessions/restore", { upload: file, headers });
      await this.reset();
      this.#adopt(session, presetOf(session), [], `restored from ${file.name}`);
      await this.measure();
    });
  }

  /** Takes over a fork of another side's session, with all that was written in it. */
  async forkFrom(other: PlaygroundPane): Promise<void> {
    const original = other.session.value;
    if (original === undefined) return;
    await this.#busy(async () => {
      const session = await call<ServedSession>(`${path(original.id)}/fork`, { method: "POST" });
      await this.reset();
      this.#adopt(session, presetOf(session), other.turns.value, `fork of ${original.id}`);
      await this.measure();
    });
  }

  async measure(): Promise<void> {
    const session = this.session.value;
    if (session === undefined) return;
    this.memory.value = await call<KvCacheMemory>(`${path(session.id)}/memory`).catch(() => undefined);
  }

  async #open(signal: AbortSignal): Promise<ServedSession> {
    return await call<ServedSession>("/api/sessions", { body: { cache: { preset: this.preset.value } }, signal });
  }

  async #generate(id: string, body: Readonly<Record<string, unknown>>, signal: AbortSignal): Promise<void> {
    const begun = performance.now();
    let first = begun;
    let tokens = 0;
    this.figures.value = NO_FIGURES;
    for await (const event of streamGeneration(id, body, signal)) {
      if ("result" in event) {
        this.#finish(event.result);
        continue;
      }
      if (tokens === 0) first = performance.now();
      tokens += event.tokens;
      this.#write(event.text);
      const seconds = (performance.now() - first) / 1000;
      const tokensPerSecond = tokens > 1 && seconds > 0 ? (tokens - 1) / seconds : null;
      this.figures.value = { tokens, timeToFirstTokenMs: first - begun, tokensPerSecond };
    }
  }

  #write(text: string): void {
    const turns = this.turns.value;
    const last = turns.at(-1);
    if (last !== undefined) this.turns.value = [...turns.slice(0, -1), { ...last, text: last.text + text }];
  }

  #finish({ usage, timeToFirstTokenMs, tokensPerSecond, kvCache }: GenerationResult): void {
    this.figures.value = { tokens: usage.completionTokens, timeToFirstTokenMs, tokensPerSecond };
    this.memory.value = kvCache;
  }

  async #busy(work: () => Promise<void>): Promise<void> {
    if (this.state.value !== "idle") return;
    this.state.value = "busy";
    this.error.value = undefined;
    try {
      await work();
    } catch (error) {
      this.error.value = messageOf(error);
    } finally {
      this.state.value = "idle";
    }
  }

  #adopt(session: ServedSession | undefined, preset: string, turns: readonly Turn[], origin: string | undefined): void {
    this.session.value = session;
    this.preset.value = preset;
    this.turns.value = turns;
    this.origin.value = origin;
    this.figures.value = NO_FIGURES;
    this.memory.value = undefined;
  }
}

function path(id: string): string {
  return `/api/sessions/${encodeURIComponent(id)}`;
}

function presetOf({ cache }: ServedSession): string {
  const { preset } = cache as { preset?: unknown };
  return typeof preset === "string" ? preset : "";
}
