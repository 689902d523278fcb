import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { Command } from "commander";
import { ConfigError, type Config, type Job, type JobService } from "../index.js";
import { runPythonTask, toArguments } from "../runner/python-task.js";
import { stateFolder } from "../util/state-folder.js";
import type { CommandContext, GlobalOptions } from "./create-program.js";
import { openJobs } from "./job-service.js";
import type { Output } from "./output.js";
import { readConfig } from "./read-config.js";
import { runInterruptibly } from "./run-context.js";

const TASK = { name: "write the report", failureCode: "report_failed", module: "kitty_kv.eval.reporting" };
const MEASURED = ["eval", "latency", "simulate"];

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
        const paths = await findResults(results, config, output);
        const args = [...toArguments({ out: resolve(flags.out ?? "report.html") }), "--", ...paths];
        const { report, ...figures } = await runPythonTask(config, { ...TASK, args }, { signal, onProgress });
        if (output.isJson) await output.json(figures);
        else await output.line(report);
      });
    });
}

/** The folder or file of each; what is no path is the id of a job, and a sweep stands for its children. */
async function findResults(results: readonly string[], config: Config, output: Output): Promise<string[]> {
  const isPath = (name: string): boolean => existsSync(name);
  if (results.length > 0 && results.every(isPath)) return results.map((path) => resolve(path));
  await using jobs = openJobs(config);
  const folder = join(config.jobs.folder ?? stateFolder(), "jobs");
  const found =
    results.length === 0
      ? await allJobs(jobs.service)
      : await Promise.all(
          results.map(async (name) => (isPath(name) ? resolve(name) : await jobOf(name, jobs.service, output))),
        );
  const paths = found.flat().map((each) => (typeof each === "string" ? each : join(folder, each.id)));
  if (paths.length > 0) return [...new Set(paths)];
  throw new ConfigError(
    "Cannot write the report: no job of kind eval, latency or simulate has succeeded; name folders of results, or run one",
    { code: "no_results" },
  );
}

async function jobOf(id: string, service: JobService, output: Output): Promise<Pick<Job, "id">[]> {
  const job = await service.get(id);
  if (job.kind !== "sweep") return [job];
  const children = await allJobs(service, id);
  const total = job.progress?.total ?? children.length;
  if (children.length < total) {
    output.note(
      `Of sweep ${id} ${String(children.length)} of ${String(total)} children have succeeded; the rest is left out`,
    );
  }
  return children;
}

/** All that succeeded and measured something, oldest first; a sweep's children that did not are left out. */
async function allJobs(service: JobService, parent?: string): Promise<Pick<Job, "id">[]> {
  const found: Pick<Job, "id">[] = [];
  let cursor: string | undefined;
  do {
    const page = await service.list({ state: "succeeded", parent, limit: 500, cursor });
    found.push(...page.jobs.filter(({ kind }) => MEASURED.includes(kind)));
    cursor = page.next ?? undefined;
  } while (cursor !== undefined);
  return found.reverse();
}
