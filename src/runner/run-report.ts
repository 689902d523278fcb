import type { Config } from "../config/schema.js";
import { basename, dirname, join } from "node:path";
import { toArguments, type PythonReport, type RunOptions } from "./python-task.js";
import { runTask } from "./run-task.js";

const TASK = { name: "write the report", failureCode: "report_failed", module: "kitty_kv.eval.reporting" };

/** What lies beside each other when `out` is `report.html`. */
export const REPORT_FILES = ["report.html", "report.md", "report.json", "report.csv"] as const;

export interface ReportRequest {
  /** A file that ends in .html; the others get its name. */
  out: string;
  /** Folders of jobs or of results, and documents. */
  results: readonly string[];
}

/**
 * Writes one report about any results.
 * @throws what `runTask` throws
 */
export async function runReport(
  config: Config,
  { out, results }: ReportRequest,
  options: RunOptions,
): Promise<PythonReport> {
  return await runTask(
    config,
    (files) => {
      const file = join(files.writes(dirname(out)), basename(out));
      return { ...TASK, args: [...toArguments({ out: file }), "--", ...results.map((path) => files.reads(path))] };
    },
    { ...options, usesGpus: false },
  );
}
