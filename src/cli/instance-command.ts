import { Command } from "commander";
import {
  ConfigError,
  listInstances,
  loadConfig,
  readInstanceLog,
  resolveConfig,
  startInstances,
  stopInstances,
  type Instance,
  type InstanceSettings,
} from "../index.js";
import type { CommandContext, GlobalOptions } from "./create-program.js";
import { parseAmount, parseCount } from "./parse-flags.js";
import { runInterruptibly } from "./run-context.js";

interface StartFlags extends GlobalOptions {
  image?: string;
  overlay?: string;
  count?: number;
  nv?: boolean;
  gpus?: string;
  modelFolder?: string[];
  network?: string;
  memoryMib?: number;
  cpus?: number;
}

/** `instance start | list | stop | logs`: containers on one image and one overlay, in which workers run. */
export function instanceCommand(context: CommandContext): Command {
  const command = new Command("instance").description("start, list and stop instances of an image and its overlay");
  for (const add of [startCommand, listCommand, stopCommand, logsCommand]) command.addCommand(add(context));
  return command;
}

function startCommand(context: CommandContext): Command {
  const { output } = context;
  return new Command("start")
    .description("start instances that live until they are stopped; each is ready when a worker has answered in it")
    .option("--image <sif>", "the image (the configuration's apptainer.image)")
    .option("--overlay <img>", "the sealed overlay, only read (the configuration's apptainer.overlay)")
    .option("--count <n>", "how many (1)", parseCount("--count"))
    .option("--nv", "show them the machine's NVIDIA GPUs")
    .option("--gpus <ids>", "the GPUs that workers in them use, such as 0 or 0,1; all without it")
    .option("--model-folder <folder>", "a folder that they see read-only; may be given again", collect)
    .option("--network <name>", "none or host (none)")
    .option("--memory-mib <n>", "the most memory of each, where cgroups allow limits", parseCount("--memory-mib"))
    .option("--cpus <n>", "the most CPUs of each, where cgroups allow limits", parseAmount("--cpus"))
    .action(async (_flags: object, self: Command) => {
      const { config, settings, count } = await readStartFlags(self.optsWithGlobals<StartFlags>());
      const instances = await runInterruptibly(context, (run) =>
        startInstances(settings, { count, worker: config.worker, ...run }),
      );
      if (output.isJson) return output.json({ instances });
      return output.line(instances.map(({ name }) => name).join("\n"));
    });
}

function listCommand({ output }: CommandContext): Command {
  return new Command("list")
    .description("every instance of this state folder, whichever process started it")
    .action(async () => {
      const instances = await listInstances();
      if (output.isJson) await output.json({ instances });
      else await output.line(instances.length === 0 ? "no instances" : instances.map(describe).join("\n"));
    });
}

function stopCommand({ output }: CommandContext): Command {
  return new Command("stop")
    .description("end instances and the workers in them, and remove what was kept of them")
    .argument("[names...]", "their names")
    .option("--all", "every instance of this machine")
    .action(async (names: string[], { all }: { all?: boolean }) => {
      if (names.length === 0 ? all !== true : all === true) {
        throw new ConfigError("Cannot stop instances: name them, or give --all and no names", { code: "usage" });
      }
      const stopped = await stopInstances(all === true ? "all" : names);
      if (output.isJson) await output.json({ stopped });
      else await output.line(stopped.length === 0 ? "no instances" : stopped.join("\n"));
    });
}

function logsCommand(context: CommandContext): Command {
  const { output } = context;
  return new Command("logs")
    .description("what happened in an instance, and what its workers wrote to stderr")
    .argument("<name>", "the instance's name")
    .option("-f, --follow", "go on until the instance is gone")
    .action(async (name: string, { follow }: { follow?: boolean }) => {
      await runInterruptibly(context, async ({ signal }) => {
        for await (const line of readInstanceLog(name, { follows: follow === true, signal })) {
          if (output.isJson) await output.json({ line });
          else await output.text(`${line}\n`);
        }
      });
    });
}

async function readStartFlags(flags: StartFlags) {
  const config = flags.config === undefined ? resolveConfig() : await loadConfig(flags.config);
  const { apptainer: base } = config;
  const { image = base.image, overlay = base.overlay, network = base.network, count = 1 } = flags;
  if (image === null || overlay === null) {
    throw new ConfigError("Cannot start instances: give --image and --overlay, or a configuration that has both", {
      code: "usage",
    });
  }
  if (network !== "none" && network !== "host") {
    throw new ConfigError(`Cannot start instances: --network must be none or host, got ${JSON.stringify(network)}`);
  }
  const settings: InstanceSettings = {
    ...{ image, overlay, network },
    modelFolders: flags.modelFolder ?? base.modelFolders,
    hasNvidia: flags.nv ?? base.nvidia,
    visibleDevices: flags.gpus ?? null,
    memoryMiB: flags.memoryMib ?? base.memoryMiB,
    cpus: flags.cpus ?? base.cpus,
  };
  return { config, settings, count };
}

function describe({ name, state, startedAt, image, overlay, visibleDevices }: Instance): string {
  const gpus = visibleDevices === null ? "" : `  GPUs ${visibleDevices}`;
  return `${name}  ${state}  since ${startedAt}  ${image} + ${overlay}${gpus}`;
}

function collect(value: string, earlier: string[] | undefined): string[] {
  return [...(earlier ?? []), value];
}
