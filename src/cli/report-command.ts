import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { Command } from "commander";
import { ConfigError, findReportSources, jobsFolder, MEASURING_KINDS, type Config, type JobService } from "../index.js";
import { REPORT_FILES, runReport } from "../runner/run-report.js";
import type { CommandContext, GlobalOptions } from "./create-program.js";
import { openJobs } from "./job-service.js";
import type { Output } from "./output.js";
import { readConfig } from "./read-config.js";
import { runInterruptibly } from "./run-context.js";

interface ReportFlags extends GlobalOptions {
  out?: string;
}

/** `report`: one file about any results, and the same for programs beside it. */
export function reportCommand(context: CommandContext): Command {
  const { output } = context;
  return new Command("report")
    .description("one HTML file (and Markdown, JSON, CSV beside it) from results of eval, bench latency and simulate")
    .argument(
      "[results...]",
      "jobs, folders that --out of eval named, or JSON files; without any all jobs that succeeded",
    )
    .option("--out <file>", "ends in .html (report.html)")
    .action(async (results: string[], _flags: object, self: Command) => {
      const flags = self.optsWithGlobals<ReportFlags>();
      const config = await readConfig(flags);
      await runInterruptibly(context, async ({ signal, onProgress }) => {
        const request = {
          out: resolve(flags.out ?? REPORT_FILES[0]),
          results: await findResults(results, config, output),
        };
        const { report, ...figures } = await runReport(config, request, { signal, onProgress });
        if (output.isJson) await output.json(figures);
        else await output.line(report);
      });
    });
}

/** The folder or file of each; what is no path is the id of a job, and a sweep stands for its children. */
async function findResults(results: readonly string[], config: Config, output: Output): Promise<string[]> {
  const paths = results.filter((name) => existsSync(name)).map((path) => resolve(path));
  const ids = results.filter((name) => !existsSync(name));
  if (results.length > 0 && ids.length === 0) return paths;
  await using jobs = openJobs(config);
  const wanted = results.length === 0 ? await allJobs(jobs.service) : ids;
  const { sources, leftOut } = await findReportSources(wanted, jobs.service, jobsFolder(config));
  for (const { id, reason } of leftOut) output.note(`Job ${id} is left out: ${reason}`);
  for (const { id, state } of sources.filter(({ isPartial }) => isPartial)) {
    output.note(`Of job ${id}, which is ${state}, the report has what it answered so far`);
  }
  return [...new Set([...paths, ...sources.map(({ folder }) => folder)])];
}

/** The ids of all that succeeded and measured something, oldest first. */
async function allJobs(service: JobService): Promise<string[]> {
  const found: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await service.list({ state: "succeeded", limit: 500, cursor });
    found.push(...page.jobs.filter(({ kind }) => MEASURING_KINDS.includes(kind)).map(({ id }) => id));
    cursor = page.next ?? undefined;
  } while (cursor !== undefined);
  if (found.length > 0) return found.reverse();
  throw new ConfigError(
    "Cannot write the report: no job of kind eval, latency or simulate has succeeded; name folders of results, or run one",
    { code: "no_results" },
  );
}
