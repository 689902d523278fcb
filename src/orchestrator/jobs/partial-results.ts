import { closeSync, existsSync, fdatasyncSync, fstatSync, ftruncateSync, openSync, readFileSync } from "node:fs";
import { KittyError } from "../../errors.js";
import { writeAll, writing, type JobFolder } from "./job-folder.js";

const FILE = "results.partial.jsonl";

/** One line of a results file. */
export interface PromptResult {
  index: number;
  [field: string]: unknown;
}

/** The results of a batch so far, which outlive every attempt: what is in here is not computed again. */
export class PartialResults {
  readonly results = new Map<number, PromptResult>();
  readonly #file: number;
  readonly #path: string;

  /**
   * @param promptsSha256 of the prompts; results of other ones are refused
   * @throws KittyError `prompts_changed`, `disk_full`
   */
  constructor(folder: JobFolder, promptsSha256: string) {
    this.#path = folder.file(FILE);
    const text = existsSync(this.#path) ? readFileSync(this.#path) : Buffer.alloc(0);
    // A line that was being written when everything died is not whole, and is computed again.
    const wholeBytes = text.lastIndexOf("\n") + 1;
    const [header, ...lines] = text.subarray(0, wholeBytes).toString("utf8").split("\n").slice(0, -1);
    if (header !== undefined) checkHeader(header, promptsSha256, this.#path);
    for (const line of lines) this.#take(JSON.parse(line) as PromptResult);
    this.#file = writing("open", this.#path, () => openSync(this.#path, "a", 0o600));
    writing("repair", this.#path, () => {
      ftruncateSync(this.#file, wholeBytes);
    });
    if (header === undefined) this.#write({ promptsSha256 });
  }

  /** Keeps a result; it is on the disk when this returns. */
  add(result: PromptResult): void {
    this.#write(result);
    this.#take(result);
  }

  close(): void {
    closeSync(this.#file);
  }

  #take(result: PromptResult): void {
    this.results.set(result.index, result);
  }

  #write(line: object): void {
    writing("write", this.#path, () => {
      const { size } = fstatSync(this.#file);
      try {
        writeAll(this.#file, `${JSON.stringify(line)}\n`);
        fdatasyncSync(this.#file);
      } catch (error) {
        // The part that did fit would only keep the disk full.
        ftruncateSync(this.#file, size);
        throw error;
      }
    });
  }
}

function checkHeader(header: string, promptsSha256: string, path: string): void {
  const { promptsSha256: known } = JSON.parse(header) as { promptsSha256: string };
  if (known === promptsSha256) return;
  throw new KittyError(
    `Cannot go on with the results in ${JSON.stringify(path)}: the prompts changed since they were begun; submit a new job for the new prompts`,
    { code: "prompts_changed", details: { path, known, found: promptsSha256 } },
  );
}
