import { KittyError, NotFoundError } from "../errors.js";
import type { Kitty } from "../orchestrator/kitty.js";
import type { Session } from "../orchestrator/session.js";

type ModelDescription = Session["model"];

/** The configured model: whether it is loaded, and the names that clients may call it by. */
export class ServedModel {
  readonly #kitty: Kitty;
  readonly #created = Math.floor(Date.now() / 1000);
  #description: ModelDescription | undefined;
  #failure: KittyError | undefined;

  constructor(kitty: Kitty) {
    this.#kitty = kitty;
  }

  /**
   * Loads it and keeps the session that did so, since a worker may let go of a model that no session uses.
   * @throws what opening a session throws
   */
  async load(signal?: AbortSignal): Promise<Session> {
    try {
      const session = await this.#kitty.sessions.open({ signal });
      this.#description = session.model;
      this.#failure = undefined;
      return session;
    } catch (error) {
      if (error instanceof KittyError) this.#failure = error;
      throw error;
    }
  }

  get isReady(): boolean {
    return this.#description !== undefined;
  }

  /** Why it could not be loaded. */
  get failure(): KittyError | undefined {
    return this.#failure;
  }

  /** @throws KittyError `loading` until it is there */
  get description(): ModelDescription {
    if (this.#description !== undefined) return this.#description;
    const found = this.#failure === undefined ? "the model is still loading" : this.#failure.message;
    throw new KittyError(`Cannot generate yet: ${found}; try again when GET /readyz answers 200`, {
      code: "loading",
      details: { retryAfterSeconds: 2 },
    });
  }

  /** Unix seconds since when it is served. */
  get created(): number {
    return this.#created;
  }

  /** @throws NotFoundError `model_not_found` for any name but its own and the one in the configuration */
  check(name: string): ModelDescription {
    const { description } = this;
    if (name === description.name || name === this.#kitty.config.model) return description;
    throw new NotFoundError(
      `Cannot use model ${JSON.stringify(name.slice(0, 200))}: this server has ${JSON.stringify(description.name)}, name that or set model in the configuration`,
      { code: "model_not_found", details: { model: name.slice(0, 200), known: [description.name], path: "model" } },
    );
  }
}
