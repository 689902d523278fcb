import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Config } from "../../config/schema.js";
import { CancelledError, ConfigError, KittyError } from "../../errors.js";
import { jobReportSchema, type JobReport } from "../../job/report-schemas.js";
import { REPORT_FILES, runReport } from "../../runner/run-report.js";
import type { ReportSource, ReportSources } from "./report-sources.js";

const MOST_RESULTS = 1000;
const MOST_BYTES = 16 * 2 ** 20;
const KEPT = 4;
const MOST_WAITING = 16;
const [HTML, MARKDOWN, JSON_FILE, CSV] = REPORT_FILES;

/** Reports about jobs, one at a time; the latest are kept, as a page asks for the same one again and again. */
export class Reports {
  readonly #config: Config;
  readonly #kept = new Map<string, Omit<JobReport, "leftOut">>();
  readonly #closing = new AbortController();
  #turn: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  constructor(config: Config) {
    this.#config = config;
  }

  /**
   * The report about what was found, the same as `kitty-kv report` writes.
   * @throws ConfigError `report_too_large`, and where Python refuses the results; KittyError `queue_full`; CancelledError
   */
  async about({ sources, leftOut }: ReportSources, signal: AbortSignal | undefined): Promise<JobReport> {
    checkSize(sources);
    const key = JSON.stringify(sources);
    const known = this.#kept.get(key);
    if (known !== undefined) return { ...known, leftOut };
    const made = await this.#inTurn(
      AbortSignal.any([this.#closing.signal, ...(signal === undefined ? [] : [signal])]),
      // Whoever waited before may have asked for the same.
      async (either) => this.#kept.get(key) ?? (await this.#make(sources, either)),
    );
    this.#kept.set(key, made);
    for (const oldest of [...this.#kept.keys()].slice(0, -KEPT)) this.#kept.delete(oldest);
    return { ...made, leftOut };
  }

  /** Ends what is being written. */
  close(): void {
    this.#closing.abort();
  }

  async #inTurn<T>(signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    if (this.#waiting >= MOST_WAITING) {
      throw new KittyError("Cannot write the report: too many are being written; try again in a moment", {
        code: "queue_full",
      });
    }
    this.#waiting += 1;
    const before = this.#turn;
    const mine = (async () => {
      await before.catch(() => undefined);
      if (signal.aborted) throw new CancelledError("Cannot write the report: nobody waits for it any more");
      return await work(signal);
    })();
    this.#turn = mine;
    try {
      return await mine;
    } finally {
      this.#waiting -= 1;
    }
  }

  async #make(sources: readonly ReportSource[], signal: AbortSignal): Promise<Omit<JobReport, "leftOut">> {
    const folder = await mkdtemp(join(tmpdir(), "kitty-kv-report-"));
    try {
      const folders = sources.map((source) => source.folder);
      const quiet = { signal, onProgress: () => undefined };
      await runReport(this.#config, { out: join(folder, HTML), results: folders }, quiet);
      const [html, markdown, text, csv] = await Promise.all(
        [HTML, MARKDOWN, JSON_FILE, CSV].map((name) => readFile(join(folder, name), "utf8")),
      );
      const jobs = sources.map(({ id, kind, name, state, isPartial }) => ({ id, kind, name, state, isPartial }));
      return readReport({
        jobs,
        leftOut: [],
        document: JSON.parse(text ?? "") as unknown,
        files: { html, markdown, csv },
      });
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }
}

/** Results are files that anything may have changed since. */
function readReport(given: unknown): Omit<JobReport, "leftOut"> {
  const { data, error } = jobReportSchema.safeParse(given);
  if (data !== undefined) return data;
  const [issue] = error.issues;
  throw new ConfigError(
    `Cannot write the report: the results are not what this version writes (${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}); run the jobs again`,
    { code: "other_results" },
  );
}

function checkSize(sources: readonly ReportSource[]): void {
  const bytes = sources.reduce((total, { sizeBytes }) => total + sizeBytes, 0);
  if (sources.length <= MOST_RESULTS && bytes <= MOST_BYTES) return;
  const found = `${sources.length === 1 ? "1 job" : `${String(sources.length)} jobs`} with ${(bytes / 2 ** 20).toFixed(1)} MiB of results`;
  throw new ConfigError(
    `Cannot write the report: ${found} ${sources.length === 1 ? "is" : "are"} more than ${String(MOST_RESULTS)} jobs or ${String(MOST_BYTES / 2 ** 20)} MiB; choose fewer, or run "kitty-kv report" with them`,
    { code: "report_too_large", details: { jobs: sources.length, sizeBytes: bytes } },
  );
}
