import { Command } from "commander";
import { buildImage, ConfigError, inspectImage } from "../index.js";
import type { CommandContext } from "./create-program.js";
import { toMiB } from "./format-bytes.js";
import { runInterruptibly } from "./run-context.js";

interface BuildFlags {
  def: string;
  out: string;
  buildArg?: Record<string, string>;
  fakeroot?: boolean;
}

/** `image build` and `image inspect`: the read-only image that instances share. */
export function imageCommand(context: CommandContext): Command {
  return new Command("image")
    .description("build and inspect Apptainer images")
    .addCommand(buildCommand(context))
    .addCommand(inspectCommand(context));
}

function buildCommand(context: CommandContext): Command {
  const { output } = context;
  return new Command("build")
    .description("build an image; does nothing when the one there was made from the same inputs")
    .requiredOption("--def <file>", "definition file, such as apptainer/kitty-cpu.def")
    .requiredOption("--out <sif>", "the image's file")
    .option("--build-arg <name=value>", "an argument of the definition; may be given again", collectArgument)
    .option("--fakeroot", "build in a user namespace; an ordinary user always does")
    .action(async ({ def, out, buildArg, fakeroot }: BuildFlags) => {
      const built = await runInterruptibly(context, (run) =>
        buildImage(out, { definition: def, buildArguments: buildArg, usesFakeroot: fakeroot, ...run }),
      );
      if (output.isJson) await output.json(built);
      else await output.line(`${built.path}  ${toMiB(built.sizeBytes)}  ${built.isCached ? "up to date" : "built"}`);
    });
}

function inspectCommand(context: CommandContext): Command {
  const { output } = context;
  return new Command("inspect")
    .description("an image's labels, size and hash, and the overlays beside it that belong to it")
    .argument("<sif>", "the image's file")
    .action(async (sif: string) => {
      const inspection = await runInterruptibly(context, (run) => inspectImage(sif, run));
      if (output.isJson) return output.json(inspection);
      const { path, sizeBytes, sha256, labels, overlays } = inspection;
      const facts = [
        path,
        `size     ${toMiB(sizeBytes)}`,
        `sha256   ${sha256}`,
        ...Object.entries(labels).map(([name, value]) => `label    ${name} = ${value}`),
        ...overlays.map(({ path: overlay, state }) => `overlay  ${overlay} (${state})`),
      ];
      return output.line(facts.join("\n"));
    });
}

function collectArgument(text: string, earlier: Record<string, string> | undefined): Record<string, string> {
  const [, name, value] = /^([A-Za-z_]\w*)=(.*)$/s.exec(text) ?? [];
  if (name !== undefined && value !== undefined) return { ...earlier, [name]: value };
  throw new ConfigError(`Cannot read the command line: --build-arg must be name=value, got ${JSON.stringify(text)}`, {
    details: { flag: "--build-arg", value: text },
  });
}
