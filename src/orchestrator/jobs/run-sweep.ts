import { dirname, join } from "node:path";
import type { Config } from "../../config/schema.js";
import type { SweepParams } from "../../job/job-params.js";
import { expandSweep } from "../../job/sweep.js";
import type { JobSpec } from "../../job/job-spec.js";
import { isTerminal } from "../../job/job-state.js";
import type { Job } from "../../job/job.js";
import { KittyError } from "../../errors.js";
import { MEASURING_KINDS } from "../../job/reported-kinds.js";
import { REPORT_FILES, runReport } from "../../runner/run-report.js";
import { checkOne } from "./check-job.js";
import type { AttemptContext, JobExecutor } from "./executor.js";
import type { JobStore } from "./job-store.js";

const FILE = "children.json";

/** `sweep`: one child a combination, made once, however often the sweep itself begins anew. */
export function sweepExecutor(
  store: JobStore,
  config: Config,
  wait: (id: string, signal: AbortSignal) => Promise<Job>,
): JobExecutor {
  return async ({ job, folder, signal, begin, log, progress }) => {
    const combinations = expandSweep(job.spec.params as SweepParams);
    const children = store.insert(
      combinations.map(({ spec }, index) => ({
        spec: config.runner === "slurm" ? waiting(checkOne(spec, config), job.spec) : checkOne(spec, config),
        parent: job.id,
        idempotencyKey: `${job.id}/${String(index)}`,
      })),
    );
    begin();
    log(`${String(children.length)} children`);
    let done = 0;
    const ended = await Promise.all(
      children.map(async ({ id }) => {
        const child = await wait(id, signal);
        log(`${id} is ${child.state}`);
        progress((done += 1), children.length);
        return child;
      }),
    );
    const rows = ended.map((child, index) => toRow(child, combinations[index]?.values));
    folder.write(FILE, [`${JSON.stringify(rows, undefined, 2)}\n`]);
    const failed = ended.filter(({ state }) => isTerminal(state) && state !== "succeeded");
    const unmet = failed.find(({ error }) => error?.code === "dependency_failed")?.error ?? undefined;
    if (unmet !== undefined) throw new KittyError(unmet.message, unmet);
    if (failed.length > 0) throw childrenFailed(job.id, failed, ended.length);
    const isMeasured = ended.every(({ kind }) => MEASURING_KINDS.includes(kind));
    const reports = isMeasured ? await reportOn(ended, config, { folder, signal, log }) : [];
    return { figures: { children: rows }, files: [FILE, ...reports] };
  };
}

/** On a cluster the children themselves wait, in Slurm. */
function waiting(child: JobSpec, sweep: JobSpec): JobSpec {
  return { ...child, dependsOn: [...new Set([...child.dependsOn, ...sweep.dependsOn])] };
}

/** One report about all children; of evaluations it pairs the presets by their questions. */
async function reportOn(
  children: readonly Job[],
  config: Config,
  { folder, signal, log }: Pick<AttemptContext, "folder" | "signal" | "log">,
): Promise<readonly string[]> {
  const results = children.map(({ id }) => join(dirname(folder.path), id));
  await runReport(config, { out: folder.file("report.html"), results }, { signal, onProgress: log });
  return REPORT_FILES;
}

function toRow({ id, state, result, error }: Job, values: unknown): Record<string, unknown> {
  return { id, values, state, figures: result?.figures ?? null, error };
}

function childrenFailed(id: string, failed: readonly Job[], total: number): KittyError {
  return new KittyError(
    `Cannot finish sweep ${id}: ${String(failed.length)} of ${String(total)} children did not succeed, the first is ${failed[0]?.id ?? ""}; see their logs, then "kitty-kv job retry ${id}" retries them`,
    { code: "children_failed", details: { children: failed.map((child) => child.id) } },
  );
}
