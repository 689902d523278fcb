import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import ts from "typescript";
import { findCycle } from "./find-cycle.mjs";
import { TYPESCRIPT_FOLDERS, TYPESCRIPT_PACKAGES } from "./rules.mjs";

/** Checks every import below src/. @returns one sentence for each that points the wrong way */
export function checkTypeScript(root, folders = TYPESCRIPT_FOLDERS, packages = TYPESCRIPT_PACKAGES) {
  const problems = [];
  const edges = new Map();
  for (const file of listSources(root)) {
    const from = folderOf(file);
    if (folders[from] === undefined) {
      problems.push(`src/${file} is in a folder that has no rule: add "${from}" to scripts/layers/rules.mjs`);
      continue;
    }
    const found = importsOf(readFileSync(join(root, "src", file), "utf8"));
    for (const specifier of found) {
      const problem = specifier.startsWith(".")
        ? checkOwn(file, from, specifier, folders, edges)
        : checkPackage(file, from, specifier, packages);
      if (problem !== undefined) problems.push(problem);
    }
  }
  const cycle = findCycle(edges);
  if (cycle !== undefined) problems.push(`src/ has folders that import each other: ${cycle.join(" -> ")}`);
  return problems;
}

function importsOf(text) {
  // createRequire and dynamic imports count as well.
  const { importedFiles } = ts.preProcessFile(text, true, true);
  // pythonia is resolved by a constant, as it has no types to import.
  const named = [...text.matchAll(/["'`](pythonia)(?:\/[^"'`]*)?["'`]/g)].map(([, name]) => name);
  const imported = importedFiles.map(({ fileName }) => fileName);
  return imported.some((name) => name.startsWith("pythonia")) ? imported : [...imported, ...named];
}

function checkOwn(file, from, specifier, folders, edges) {
  const target = posix.normalize(posix.join(dirname(file), specifier));
  const to = target.startsWith("..") ? target : folderOf(target);
  if (to === from) return undefined;
  edges.set(from, (edges.get(from) ?? new Set()).add(to));
  const isAllowed = folders[from].some(
    (allowed) => allowed === to || (target.startsWith(`${allowed}`) && allowed.includes("/")),
  );
  if (isAllowed) return undefined;
  return `src/${file} imports ${to}: "${from}" may import only ${list(folders[from])}`;
}

function checkPackage(file, from, specifier, packages) {
  const bare = specifier.replace(/^node:/, "");
  const name = bare.startsWith("@") ? bare.split("/").slice(0, 2).join("/") : bare.split("/")[0];
  const homes = Object.hasOwn(packages, name) ? packages[name] : undefined;
  if (homes === undefined || homes.includes(from)) return undefined;
  return `src/${file} imports ${name}: only ${list(homes)} may`;
}

/** bridge/frames.ts -> bridge; errors.ts -> errors */
function folderOf(file) {
  return file.split("/")[0].replace(/\.[jt]sx?$/, "");
}

function listSources(root) {
  return readdirSync(join(root, "src"), { recursive: true })
    .map((path) => path.replaceAll("\\", "/"))
    .filter((path) => /\.tsx?$/.test(path))
    .sort();
}

function list(names) {
  return names.length === 0 ? "nothing of ours" : names.join(", ");
}
