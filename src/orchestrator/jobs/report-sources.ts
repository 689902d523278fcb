import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { ConfigError, KittyError } from "../../errors.js";
import type { JobService } from "../../job/job-service.js";
import type { JobKind } from "../../job/job-spec.js";
import { isTerminal, type JobState } from "../../job/job-state.js";
import type { Job, JobSummary } from "../../job/job.js";
import type { LeftOutJob, ReportedJob } from "../../job/report-schemas.js";
import { MEASURING_KINDS } from "../../job/reported-kinds.js";
import { JobFolder } from "./job-folder.js";

/** Of an evaluation's items: a line each, the last one perhaps still being written. */
const ITEMS = "items/items.jsonl";
const FIGURES = "figures.json";
/** A record's answer may be long. */
const FIRST_ITEM_BYTES = 2 ** 20;

export interface ReportSource extends ReportedJob {
  folder: string;
  attempt: number;
  /** Of what will be read, to know whether it is still the same. */
  sizeBytes: number;
  modifiedMs: number;
}

export interface ReportSources {
  sources: ReportSource[];
  leftOut: LeftOutJob[];
}

/**
 * What a report about jobs reads: of a sweep its children that have results, and of evaluations what they answered so far.
 * @param folder of all jobs
 * @throws NotFoundError `job_not_found`; ConfigError `no_results` for a job that has no results, or is of a kind without
 */
export async function findReportSources(
  ids: readonly string[],
  service: Pick<JobService, "get" | "list">,
  folder: string,
): Promise<ReportSources> {
  if (ids.length === 0) throw new ConfigError("Cannot write the report: name at least one job", { code: "no_results" });
  const sources = new Map<string, ReportSource>();
  const leftOut: LeftOutJob[] = [];
  for (const id of new Set(ids)) {
    const job = await service.get(id);
    const isSweep = job.kind === "sweep";
    if (!MEASURING_KINDS.includes(isSweep ? kindOfChildren(job) : job.kind)) throw wrongKind(job);
    const members = isSweep ? await childrenOf(id, service) : [job];
    for (const member of members) {
      const found = await findSource(member, new JobFolder(folder, member.id));
      if (found !== undefined) sources.set(member.id, found);
      else if (isSweep) leftOut.push({ ...identity(member), reason: whyWithout(member) });
      else throw noResults(job, whyWithout(job));
    }
    if (!members.some((member) => sources.has(member.id)))
      throw noResults(job, `none of its ${String(members.length)} children has results yet`);
  }
  return { sources: [...sources.values()], leftOut };
}

/** A sweep's children, the oldest first. */
async function childrenOf(parent: string, service: Pick<JobService, "list">): Promise<JobSummary[]> {
  const found: JobSummary[] = [];
  let cursor: string | undefined;
  do {
    const page = await service.list({ parent, limit: 500, cursor });
    found.push(...page.jobs);
    cursor = page.next ?? undefined;
  } while (cursor !== undefined);
  return found.reverse();
}

async function findSource(job: JobSummary, folder: JobFolder): Promise<ReportSource | undefined> {
  const hasSucceeded = job.state === "succeeded";
  const file = folder.file(job.kind === "eval" ? ITEMS : FIGURES);
  const hasResults = job.kind === "eval" ? await hasLine(file) : hasSucceeded;
  const found = hasResults ? await stat(file).catch(() => undefined) : undefined;
  if (found === undefined) return undefined;
  const { size: sizeBytes, mtimeMs: modifiedMs } = found;
  const { path } = folder;
  return { ...identity(job), isPartial: !hasSucceeded, folder: path, attempt: job.attempt, sizeBytes, modifiedMs };
}

/** Whether the first line of a file is whole. */
async function hasLine(path: string): Promise<boolean> {
  try {
    const chunks: AsyncIterable<Buffer> = createReadStream(path, { end: FIRST_ITEM_BYTES });
    for await (const chunk of chunks) if (chunk.includes("\n")) return true;
    return false;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return false;
    const found = `${message}; let this user read the job's folder`;
    throw new KittyError(`Cannot write the report: ${found}`, { code: "job_files", cause: error });
  }
}

function identity({ id, kind, name, state }: JobSummary): Pick<ReportedJob, "id" | "kind" | "name" | "state"> {
  return { id, kind, name, state };
}

function kindOfChildren({ spec }: Job): JobKind {
  const { base } = spec.params as { base?: { kind?: JobKind } };
  return base?.kind ?? "generate";
}

const WORDS: Partial<Record<JobState, string>> = {
  failed: "it failed",
  cancelled: "it was cancelled",
  timed_out: "it ran out of time",
};

function whyWithout({ kind, state }: JobSummary): string {
  if (state === "succeeded") return "its results are no longer in its folder";
  const where = WORDS[state] ?? `it is ${state}`;
  if (isTerminal(state)) return kind === "eval" ? `${where} and answered nothing` : where;
  return kind === "eval" ? `${where} and has answered nothing yet` : `${where}, and has figures at its end`;
}

function noResults({ id, name, state }: JobSummary, why: string): ConfigError {
  const again = state === "succeeded" ? "submit it again" : "see its log, then retry it";
  const remedy = `${isTerminal(state) ? again : "wait for it"}, or leave it out`;
  return new ConfigError(`Cannot report on job ${called(id, name)}: ${why}; ${remedy}`, {
    code: "no_results",
    details: { job: id, state },
  });
}

function wrongKind(job: Job): ConfigError {
  const { id, name, kind } = job;
  const found = kind === "sweep" ? `a sweep of ${kindOfChildren(job)} jobs` : `of kind ${kind}`;
  return new ConfigError(
    `Cannot report on job ${called(id, name)}: it is ${found}, which measures nothing that a report shows; name jobs of kind ${MEASURING_KINDS.join(", ")}, or sweeps of them`,
    { code: "no_results", details: { job: id, kind } },
  );
}

function called(id: string, name: string | null): string {
  return name === null ? id : `${id} (${JSON.stringify(name)})`;
}
