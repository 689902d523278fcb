import { KittyError } from "../errors.js";

const FORGET_AFTER_MS = 60_000;

interface Bucket {
  tokens: number;
  filledAt: number;
}

/** So many requests a second of each client address, and twice as many at once. */
export class RateLimit {
  readonly #perSecond: number;
  readonly #burst: number;
  readonly #buckets = new Map<string, Bucket>();
  #sweptAt = 0;

  constructor(perSecond: number) {
    this.#perSecond = perSecond;
    this.#burst = Math.max(1, 2 * perSecond);
  }

  /** @throws KittyError `rate_limited` */
  check(address: string, now: number = performance.now()): void {
    this.#sweep(now);
    const bucket = this.#buckets.get(address) ?? { tokens: this.#burst, filledAt: now };
    bucket.tokens = Math.min(this.#burst, bucket.tokens + ((now - bucket.filledAt) / 1000) * this.#perSecond);
    bucket.filledAt = now;
    this.#buckets.set(address, bucket);
    if (bucket.tokens < 1) throw rateLimited(this.#perSecond, Math.ceil((1 - bucket.tokens) / this.#perSecond));
    bucket.tokens -= 1;
  }

  /** Addresses that went away must not pile up. */
  #sweep(now: number): void {
    if (now - this.#sweptAt < FORGET_AFTER_MS) return;
    this.#sweptAt = now;
    for (const [address, { filledAt }] of this.#buckets) {
      if (now - filledAt > FORGET_AFTER_MS) this.#buckets.delete(address);
    }
  }
}

function rateLimited(limit: number, seconds: number): KittyError {
  return new KittyError(
    `Cannot answer: this address sends more than server.requestsPerSecond, ${String(limit)}, allows; wait and send less`,
    { code: "rate_limited", details: { limit, retryAfterSeconds: seconds } },
  );
}
