const KEPT = 256;

/** The latest names that were added; older ones are forgotten. */
export class RecentNames {
  readonly #names = new Set<string>();

  add(name: string): void {
    this.#names.add(name);
    for (const oldest of this.#names) {
      if (this.#names.size <= KEPT) break;
      this.#names.delete(oldest);
    }
  }

  /** @returns whether it was there */
  delete(name: string): boolean {
    return this.#names.delete(name);
  }
}
