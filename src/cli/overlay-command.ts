import { Command } from "commander";
import {
  createOverlay,
  overlayStatus,
  provisionOverlay,
  sealOverlay,
  verifyOverlay,
  type OverlayManifest,
  type OverlayStatus,
} from "../index.js";
import { packageRoot } from "../runner/package-root.js";
import type { CommandContext } from "./create-program.js";
import { toMiB } from "./format-bytes.js";
import { parseCount } from "./parse-flags.js";
import { runInterruptibly, type RunContext } from "./run-context.js";

interface ProvisionFlags {
  image: string;
  wheels?: string;
  package?: string[];
  constraints?: string;
}

/** `overlay create | provision | seal | verify | status`: the layer of packages over the image. */
export function overlayCommand(context: CommandContext): Command {
  const command = new Command("overlay").description("make, seal and check the overlay that instances share read-only");
  for (const add of [createCommand, provisionCommand, sealCommand, verifyCommand, statusCommand]) {
    command.addCommand(add(context));
  }
  return command;
}

function createCommand(context: CommandContext): Command {
  return new Command("create")
    .description("make an empty overlay; it is sparse, so disk is used as it fills")
    .argument("<img>", "the overlay's file")
    .requiredOption("--size-mib <n>", "the most it can hold", parseCount("--size-mib"))
    .action(async (img: string, { sizeMib }: { sizeMib: number }) => {
      const manifest = await runInterruptibly(context, (run) => createOverlay(img, { sizeMiB: sizeMib, ...run }));
      await print(context, img, manifest);
    });
}

function provisionCommand(context: CommandContext): Command {
  return new Command("provision")
    .description(
      "install Kitty KV and what it needs into an overlay, inside the image; the old content stays until all is done",
    )
    .argument("<img>", "the overlay's file")
    .requiredOption("--image <sif>", "the image it is for")
    .option("--wheels <folder>", "take packages from this folder only, nothing from the network")
    .option("--constraints <file>", "versions to install, as pip reads them (the package's lock file)")
    .option("--package <spec>", "install this instead of Kitty KV; may be given again", collect)
    .action(async (img: string, { image, wheels, package: requirements, constraints }: ProvisionFlags) => {
      const plan = requirements === undefined ? undefined : { requirements, sources: [], constraints, imports: [] };
      const options = { image, wheels, plan, constraints, packageFolder: packageRoot() };
      const manifest = await runInterruptibly(context, (run) => provisionOverlay(img, { ...options, ...run }));
      await print(context, img, manifest);
    });
}

function sealCommand(context: CommandContext): Command {
  return new Command("seal")
    .description("end an overlay's writing: its hash goes into the manifest, from here it is read-only")
    .argument("<img>", "the overlay's file")
    .option("--squashfs", "make a squashfs image of it: smaller, and read faster by ordinary users")
    .action(async (img: string, { squashfs }: { squashfs?: boolean }) => {
      const seal = (run: RunContext): Promise<OverlayManifest> => sealOverlay(img, { isCompressed: squashfs, ...run });
      await print(context, img, await runInterruptibly(context, seal));
    });
}

function verifyCommand(context: CommandContext): Command {
  return new Command("verify")
    .description("check that a sealed overlay is what was sealed, and that it belongs to an image; exit code 1 if not")
    .argument("<img>", "the overlay's file")
    .option("--image <sif>", "the image it is to be used with")
    .action(async (img: string, { image }: { image?: string }) => {
      await print(context, img, await runInterruptibly(context, (run) => verifyOverlay(img, { image, ...run })));
    });
}

function statusCommand({ output }: CommandContext): Command {
  return new Command("status")
    .description("what an overlay is and who writes or reads it now")
    .argument("<img>", "the overlay's file")
    .action(async (img: string) => {
      const status = await overlayStatus(img);
      if (output.isJson) await output.json(status);
      else await output.line(describeStatus(status));
    });
}

async function print({ output }: CommandContext, img: string, manifest: OverlayManifest): Promise<void> {
  if (output.isJson) await output.json({ path: img, ...manifest });
  else await output.line(describe(img, manifest));
}

function describe(img: string, manifest: OverlayManifest): string {
  const { state, sizeBytes } = manifest;
  const packages = state === "empty" ? "no packages" : `${String(Object.keys(manifest.packages).length)} packages`;
  const hash = state === "sealed" ? `  ${manifest.format}  sha256 ${manifest.sha256}` : "";
  return `${img}  ${state}  at most ${toMiB(sizeBytes)}  ${packages}${hash}`;
}

function describeStatus({ path, manifest, allocatedBytes, holders }: OverlayStatus): string {
  const who = holders.map(
    ({ kind, purpose, pid, host, since }) => `${kind}  process ${String(pid)} on ${host} since ${since}: ${purpose}`,
  );
  const uses = who.length === 0 ? ["nobody uses it"] : who;
  return [describe(path, manifest), `${toMiB(allocatedBytes)} of disk`, ...uses].join("\n");
}

function collect(value: string, earlier: string[] | undefined): string[] {
  return [...(earlier ?? []), value];
}
