import { Command } from "commander";
import { ClusterView, clusterStatus, loadConfig, previewSlurm, resolveConfig, runSlurmTask } from "../index.js";
import type { CommandContext, GlobalOptions } from "./create-program.js";
import { readConfig } from "./read-config.js";
import { readJobSpec } from "./read-job-spec.js";
import { toClusterText } from "./slurm-status.js";

/** `slurm`: jobs and the cluster as Slurm sees them. */
export function slurmCommand(context: CommandContext): Command {
  return new Command("slurm")
    .description("jobs on a cluster")
    .addCommand(scriptCommand(context))
    .addCommand(statusCommand(context))
    .addCommand(workCommand(context), { hidden: true });
}

function scriptCommand({ output }: CommandContext): Command {
  return new Command("script")
    .description("print what would be submitted to Slurm for a job, and submit nothing")
    .argument("<file>", "the job's spec as YAML or JSON; - reads stdin")
    .action(async (file: string, _flags: object, self: Command) => {
      const { config: path } = self.optsWithGlobals<GlobalOptions>();
      const config = path === undefined ? resolveConfig() : await loadConfig(path);
      const scripts = previewSlurm(await readJobSpec(file), config);
      if (output.isJson) {
        await output.json({ scripts });
        return;
      }
      for (const { script } of scripts) await output.text(script);
    });
}

function statusCommand({ output }: CommandContext): Command {
  return new Command("status")
    .description("partitions, free nodes and GPUs, and your jobs in the queue")
    .action(async (_flags: object, self: Command) => {
      const config = await readConfig(self.optsWithGlobals<GlobalOptions>());
      const status = config.runner === "slurm" ? await new ClusterView(config).status() : await clusterStatus();
      if (output.isJson) await output.json(status);
      else await output.line(toClusterText(status));
    });
}

/** What a submission's script runs on a node. */
function workCommand({ setExitCode }: CommandContext): Command {
  return new Command("work")
    .description("run a task of a submission; batch scripts call it")
    .argument("<folder>", "of the submission")
    .argument("<task>", "its number")
    .action(async (folder: string, task: string) => {
      const [timeIsNearlyOver, mustEnd] = [new AbortController(), new AbortController()];
      process.on("SIGURG", () => {
        timeIsNearlyOver.abort();
      });
      process.on("SIGTERM", () => {
        mustEnd.abort();
      });
      const signals = { timeIsNearlyOver: timeIsNearlyOver.signal, mustEnd: mustEnd.signal };
      setExitCode(await runSlurmTask(folder, Number(task), signals));
    });
}
