import { info, type Check } from "./check.js";
import { runProgram } from "./run-program.js";

/** A program that later versions use where it is there. */
export async function checkProgram(file: string, args: readonly string[], name = file): Promise<Check> {
  const { PATH = "" } = process.env;
  const run = await runProgram({ file, args, env: { PATH } });
  if (run.startError !== undefined) return info(name, `no ${file} on PATH; not needed yet`);
  const version = run.stdout.trim().split("\n")[0] ?? "";
  return info(name, run.exitCode === 0 ? `${version}; not used yet` : `${file} fails; not needed yet`);
}
