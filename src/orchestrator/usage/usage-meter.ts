import type { GenerationListener } from "../../bridge/worker-client.js";
import type { SessionClient } from "../session-client.js";

/** Counts what the sessions of one Kitty write, whoever asked for it. */
export class UsageMeter {
  #running = 0;
  #generatedTokens = 0;

  /** Generations that wait or run. */
  get running(): number {
    return this.#running;
  }

  /** Tokens that were written since the start. */
  get generatedTokens(): number {
    return this.#generatedTokens;
  }

  /** The same client, whose generations are counted. */
  attach(client: SessionClient): SessionClient {
    return {
      generate: (params, listener) => client.generate(params, this.#count(listener)),
      credit: (...args) => client.credit(...args),
      cancel: (...args) => client.cancel(...args),
      memory: (...args) => client.memory(...args),
      tokenTexts: (...args) => client.tokenTexts(...args),
      saveSession: (...args) => client.saveSession(...args),
      closeSession: (...args) => client.closeSession(...args),
    };
  }

  #count(listener: GenerationListener): GenerationListener {
    this.#running += 1;
    let isEnded = false;
    const end = (): void => {
      if (!isEnded) this.#running -= 1;
      isEnded = true;
    };
    return {
      onTokens: (text, tokens, logprobs) => {
        this.#generatedTokens += tokens;
        listener.onTokens(text, tokens, logprobs);
      },
      onResult: (result) => {
        end();
        listener.onResult(result);
      },
      onError: (error) => {
        end();
        listener.onError(error);
      },
    };
  }
}
