import { Command } from "commander";
import {
  isTerminal,
  ConfigError,
  resolveConfig,
  type Config,
  type ConfigInput,
  JOB_STATES,
  type Job,
  type JobSpecInput,
  type JobState,
} from "../index.js";
import type { CommandContext, GlobalOptions } from "./create-program.js";
import { readJobSpec } from "./read-job-spec.js";
import { openJobs, openRunningJobs } from "./job-service.js";
import { followLog, toLine, waitFor } from "./job-report.js";
import { parseCount } from "./parse-flags.js";
import { readConfig } from "./read-config.js";
import { runInterruptibly } from "./run-context.js";
import { toJobLine } from "./slurm-status.js";
import { submissionsOf } from "./submissions-of.js";

/** `job`: durable jobs of this machine's KITTY_KV_HOME. */
export function jobCommand(context: CommandContext): Command {
  return new Command("job")
    .description("durable jobs: batches of prompts, measurements, simulations, sweeps")
    .addCommand(submitCommand(context))
    .addCommand(listCommand(context))
    .addCommand(showCommand(context))
    .addCommand(logsCommand(context))
    .addCommand(changeCommand(context, "cancel", "end a job, and a sweep's children with it"))
    .addCommand(changeCommand(context, "retry", "queue a job once more that failed, was cancelled or ran out of time"))
    .addCommand(waitCommand(context));
}

interface SubmitFlags extends GlobalOptions {
  idempotencyKey?: string;
  runner?: string;
  wait?: boolean;
}

function submitCommand(context: CommandContext): Command {
  const { output } = context;
  return new Command("submit")
    .description("store a job; an orchestrator (kitty-kv up) runs it, or this command with --wait")
    .argument("<file>", "its spec as YAML or JSON; - reads stdin")
    .option("--idempotency-key <key>", "submitted again with the same key and spec, it is the same job")
    .option("--runner <name>", "where it runs: local, apptainer or slurm (the configuration's)")
    .option("--wait", "stay until it has ended; exit code 1 unless it succeeded")
    .action(async (file: string, _flags: object, self: Command) => {
      const { idempotencyKey, wait, runner, ...flags } = self.optsWithGlobals<SubmitFlags>();
      const config = withRunner(await readConfig(flags), runner);
      const spec = (await readJobSpec(file)) as JobSpecInput;
      if (wait === true) {
        await runInterruptibly(context, async ({ signal }) => {
          await using jobs = await openRunningJobs(config, output, signal);
          const { id } = await jobs.service.submit(spec, { idempotencyKey });
          output.note(`Job ${id}`);
          await waitFor([id], jobs.service, context, signal);
        });
        return;
      }
      await using jobs = openJobs(config);
      await print(await jobs.service.submit(spec, { idempotencyKey }), context);
    });
}

interface ListFlags extends GlobalOptions {
  state?: string;
  limit?: number;
  cursor?: string;
}

function listCommand({ output }: CommandContext): Command {
  return new Command("list")
    .description("the latest jobs")
    .option("--state <state>", `only those that are ${JOB_STATES.join(", ")}`)
    .option("--limit <n>", "so many (50)", parseCount("--limit"))
    .option("--cursor <next>", "go on after a page, with what it said under next")
    .action(async (_flags: object, self: Command) => {
      const { state, limit, cursor, ...flags } = self.optsWithGlobals<ListFlags>();
      const filter = state === undefined ? undefined : checkState(state);
      await using jobs = openJobs(await readConfig(flags));
      const page = await jobs.service.list({ state: filter, limit, cursor });
      if (output.isJson) {
        await output.json(page);
        return;
      }
      for (const job of page.jobs) await output.line(toLine(job));
      if (page.next !== null) output.note(`There are more: --cursor ${page.next}`);
    });
}

function showCommand(context: CommandContext): Command {
  return new Command("show")
    .description("all that is known of a job")
    .argument("<id>")
    .action(async (id: string, _flags: object, self: Command) => {
      const config = await readConfig(self.optsWithGlobals<GlobalOptions>());
      await using jobs = openJobs(config);
      const job = await jobs.service.get(id);
      const slurm = isTerminal(job.state) ? [] : await submissionsOf(job, config, jobs.service, context.output);
      const shown = slurm.length === 0 ? job : { ...job, slurm };
      if (context.output.isJson) await context.output.json(shown);
      else await context.output.line(JSON.stringify(shown, undefined, 2));
      for (const submission of slurm) context.output.note(`Slurm job ${toJobLine(submission)}`);
    });
}

function logsCommand(context: CommandContext): Command {
  return new Command("logs")
    .description("what a job said, of all its attempts")
    .argument("<id>")
    .option("-f, --follow", "stay until it has ended")
    .action(async (id: string, _flags: object, self: Command) => {
      const { follow, ...flags } = self.optsWithGlobals<GlobalOptions & { follow?: boolean }>();
      const config = await readConfig(flags);
      await runInterruptibly(context, async ({ signal }) => {
        await using jobs = openJobs(config);
        await followLog(id, jobs.service, { output: context.output, isFollowing: follow === true, signal });
      });
    });
}

function changeCommand(context: CommandContext, name: "cancel" | "retry", description: string): Command {
  return new Command(name)
    .description(description)
    .argument("<id>")
    .action(async (id: string, _flags: object, self: Command) => {
      await using jobs = openJobs(await readConfig(self.optsWithGlobals<GlobalOptions>()));
      await print(await jobs.service[name](id), context);
    });
}

function waitCommand(context: CommandContext): Command {
  return new Command("wait")
    .description("run or follow jobs until they have ended; exit code 1 unless all succeeded")
    .argument("<ids...>")
    .action(async (ids: string[], _flags: object, self: Command) => {
      const config = await readConfig(self.optsWithGlobals<GlobalOptions>());
      await runInterruptibly(context, async ({ signal }) => {
        await using jobs = await openRunningJobs(config, context.output, signal);
        await waitFor(ids, jobs.service, context, signal);
      });
    });
}

async function print(job: Job, { output }: CommandContext): Promise<void> {
  if (output.isJson) await output.json(job);
  else await output.line(toLine(job));
}

function withRunner(config: Config, runner: string | undefined): Config {
  return runner === undefined ? config : resolveConfig({ ...config, runner } as ConfigInput);
}

function checkState(state: string): JobState {
  const known = JOB_STATES.find((name) => name === state);
  if (known !== undefined) return known;
  throw new ConfigError(
    `Cannot read the command line: --state must be one of ${JOB_STATES.join(", ")}, got ${JSON.stringify(state)}`,
    { details: { flag: "--state", value: state } },
  );
}
