import { createHash } from "node:crypto";
import { readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** A digest of some files' paths and contents, and of other values that matter. */
export function digest(root, paths, values = []) {
  const hash = createHash("sha256");
  hash.update(JSON.stringify(values));
  for (const path of paths.flatMap((path) => listFiles(root, path)).sort()) {
    hash.update(`\0${path}\0`);
    hash.update(readFileSync(join(root, path)));
  }
  return hash.digest("hex");
}

export function readStamp(file) {
  try {
    return readFileSync(file, "utf8");
  } catch {
    // No stamp, or none that can be read: the step has to run.
    return undefined;
  }
}

export function writeStamp(file, value) {
  writeFileSync(file, value);
}

export function removeStamp(file) {
  rmSync(file, { force: true });
}

function listFiles(root, path) {
  let entries;
  try {
    entries = readdirSync(join(root, path), { withFileTypes: true });
  } catch (error) {
    if (error.code === "ENOTDIR") return [path];
    throw error;
  }
  return entries.flatMap((entry) =>
    entry.isDirectory() ? listFiles(root, `${path}/${entry.name}`) : [`${path}/${entry.name}`],
  );
}
