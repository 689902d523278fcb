import { readdir, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

/** Removes `<path>.<step>-*`, what killed processes have left; only for who holds the writer's lease on `path`. */
export async function removeLeftovers(path: string, step: "creating" | "provisioning" | "sealing"): Promise<void> {
  const folder = dirname(path);
  const prefix = `${basename(path)}.${step}-`;
  const leftovers = (await readdir(folder)).filter((name) => name.startsWith(prefix));
  await Promise.all(leftovers.map((name) => rm(join(folder, name), { recursive: true, force: true })));
}
