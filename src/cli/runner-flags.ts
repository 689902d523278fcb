import type { Command } from "commander";
import type { Config } from "../index.js";

/** The flags as commander hands them over. */
export interface RunnerFlags {
  runner?: string;
  image?: string;
  overlay?: string;
}

export function addRunnerFlags(command: Command): Command {
  return command
    .option("--runner <name>", "where the worker runs: local or apptainer (local)")
    .option("--image <sif>", "the image that --runner apptainer runs (the configuration's apptainer.image)")
    .option("--overlay <img>", "its sealed overlay (the configuration's apptainer.overlay)");
}

/** What the flags change in a configuration; the whole is checked afterwards. */
export function runnerOverrides({ runner, image, overlay }: RunnerFlags, { apptainer }: Config): object {
  const place = { ...(image === undefined ? {} : { image }), ...(overlay === undefined ? {} : { overlay }) };
  return { ...(runner === undefined ? {} : { runner }), apptainer: { ...apptainer, ...place } };
}
