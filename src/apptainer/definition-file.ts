import { createHash } from "node:crypto";
import { readFile, readdir, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { NotFoundError } from "../errors.js";

/** A definition file, and what it takes from this machine. */
export interface DefinitionFile {
  text: string;
  /** Build arguments that it mentions as `{{ name }}`. */
  argumentNames: readonly string[];
  /** Those of them that its %arguments section gives a value. */
  defaultedNames: readonly string[];
  /** Absolute paths of the sources in its %files sections. */
  inputs: readonly string[];
}

/** @throws NotFoundError `definition_not_found` */
export async function readDefinition(path: string, folder: string): Promise<DefinitionFile> {
  const text = await readFile(path, "utf8").catch((cause: unknown) => {
    throw new NotFoundError(
      `Cannot build from ${JSON.stringify(path)}: it cannot be read, name a definition file such as apptainer/kitty-cpu.def`,
      { code: "definition_not_found", details: { definition: path }, cause },
    );
  });
  const argumentNames = [...text.matchAll(/\{\{\s*([A-Za-z_]\w*)\s*\}\}/g)].map(([, name = ""]) => name);
  return {
    text,
    argumentNames: [...new Set(argumentNames)],
    defaultedNames: linesOf(text, "%arguments").map((line) => line.split("=")[0] ?? ""),
    inputs: listInputs(text).map((input) => resolve(folder, input)),
  };
}

/** The first word of each line below a plain `%files`; what comes `from` an earlier stage is not on this machine. */
function listInputs(text: string): string[] {
  return linesOf(text, "%files").map((line) => line.split(/\s+/)[0] ?? "");
}

/** Lines of all sections that are headed by `header` alone, without empty ones and comments. */
function linesOf(text: string, header: string): string[] {
  let isInside = false;
  const lines: string[] = [];
  for (const line of text.split("\n").map((raw) => raw.trim())) {
    if (line.startsWith("%")) isInside = line === header;
    else if (isInside && line !== "" && !line.startsWith("#")) lines.push(line);
  }
  return lines;
}

/** A digest of all that decides what an image holds, apart from what package mirrors answer that day. */
export async function digestInputs(
  { text, inputs }: DefinitionFile,
  buildArguments: Readonly<Record<string, string>>,
): Promise<string> {
  const hash = createHash("sha256");
  hash.update(JSON.stringify([text, Object.entries(buildArguments).sort(([a], [b]) => (a < b ? -1 : 1))]));
  for (const input of inputs) {
    for (const path of await listFiles(input)) {
      hash.update(`\0${path}\0`);
      hash.update(await readFile(path));
    }
  }
  return hash.digest("hex");
}

async function listFiles(path: string): Promise<string[]> {
  const found = await stat(path).catch((cause: unknown) => {
    throw new NotFoundError(
      `Cannot build the image: ${JSON.stringify(path)} of the definition's %files cannot be read (patterns are not supported, name files and folders)`,
      { code: "input_not_found", details: { path }, cause },
    );
  });
  if (!found.isDirectory()) return [path];
  const names = (await readdir(path)).sort();
  return (await Promise.all(names.map((name) => listFiles(join(path, name))))).flat();
}
