import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { KittyError } from "../errors.js";
import { runHelper, type ApptainerOptions } from "./apptainer.js";
import { removeLeftovers } from "./remove-leftovers.js";

export interface CompressOptions extends Pick<ApptainerOptions, "signal" | "onProgress"> {
  purpose: string;
}

/**
 * Replaces an ext3 overlay, in one step, by a squashfs one of the same content: a third of its size, and nothing can
 * write it. Only for who holds the writer's lease.
 * @throws KittyError `program_failed`, `overlay_unreadable`; NotFoundError `program_not_found`; CancelledError
 */
export async function compressOverlay(overlay: string, options: CompressOptions): Promise<void> {
  const { purpose, signal, onProgress: onLine } = options;
  await removeLeftovers(overlay, "sealing");
  const folder = `${overlay}.sealing-${randomUUID()}`;
  const content = join(folder, "content");
  const copy = join(folder, "overlay.img");
  try {
    await mkdir(content, { recursive: true });
    await readContent(overlay, content, { purpose, signal });
    // As the file system's own user and group; zstd is read twice as fast as gzip.
    const flags = ["-noappend", "-all-root", "-no-progress", "-comp", "zstd", "-Xcompression-level", "3"];
    const write = { purpose, signal, onLine, debianPackage: "squashfs-tools" };
    await runHelper("mksquashfs", [content, copy, ...flags], write);
    await syncFile(copy);
    await rename(copy, overlay);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Whether a file is a squashfs image, by its first bytes. */
export async function isSquashfs(path: string): Promise<boolean> {
  const file = await open(path, "r");
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(4), 0, 4, 0);
    return bytesRead === 4 && buffer.toString("latin1") === "hsqs";
  } finally {
    await file.close();
  }
}

async function readContent(overlay: string, content: string, run: Pick<CompressOptions, "purpose" | "signal">) {
  const lines: string[] = [];
  // Its request language takes no path of ours: it works in the folder it is started in.
  await runHelper("debugfs", ["-R", "rdump upper/opt .", overlay], {
    ...{ ...run, cwd: content, debianPackage: "e2fsprogs" },
    onLine: (line) => void lines.push(line),
  });
  // It ends with 0 whatever happened. That an ordinary user cannot give files away does not matter: all become root's.
  const problem = lines.find((line) => !/^debugfs \d|while changing ownership/.test(line));
  if (problem === undefined && existsSync(join(content, "opt", "kitty", "env"))) return;
  throw new KittyError(
    `Cannot read overlay ${JSON.stringify(overlay)}: ${problem ?? "it has no /opt/kitty/env"}; free disk space, or provision it again`,
    { code: "overlay_unreadable", details: { overlay } },
  );
}

async function syncFile(path: string): Promise<void> {
  const file = await open(path, "r");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}
