import { randomUUID } from "node:crypto";
import { mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";
import { ConfigError, KittyError } from "../errors.js";
import { runToEnd } from "../process/run-to-end.js";
import { runApptainer, type ApptainerOptions } from "./apptainer.js";
import { apptainerEnvironment } from "./apptainer-environment.js";
import { aptMirror } from "./apt-mirror.js";
import { checkedPath } from "./checked-path.js";
import { digestInputs, readDefinition, type DefinitionFile } from "./definition-file.js";
import { imageIdentity, type ImageIdentity } from "./image-identity.js";
import { writeAtomically } from "./write-atomically.js";

const recordSchema = z.object({
  inputsSha256: z.string(),
  sha256: z.string(),
  sizeBytes: z.number(),
  builtAt: z.string(),
});

export interface BuildImageOptions extends ApptainerOptions {
  definition: string;
  /** Values of the definition's `{{ name }}`; `mirror` and `commit` are found when they are not given. */
  buildArguments?: Readonly<Record<string, string>> | undefined;
  /** Builds in a user namespace, as an ordinary user has to. @default true unless this process is root */
  usesFakeroot?: boolean | undefined;
}

export interface BuiltImage extends ImageIdentity {
  path: string;
  /** True when nothing had to be built: the file there was made from the same inputs. */
  isCached: boolean;
}

/**
 * Builds an image, unless the one there was made from the same definition, inputs and arguments.
 * The old image stays until the new one has passed its %test and takes its place in one step.
 * @throws ConfigError `unknown_build_argument`, `missing_build_argument`; NotFoundError; KittyError `image_build_failed`; CancelledError
 */
export async function buildImage(out: string, options: BuildImageOptions): Promise<BuiltImage> {
  const image = checkedPath(out, "an image");
  const definition = checkedPath(options.definition, "a definition file");
  const { signal, onProgress, program } = options;
  const folder = dirname(definition);
  const file = await readDefinition(definition, folder);
  const given = checkArguments(options.buildArguments ?? {}, file.argumentNames, definition);
  const found = { ...findMirror(file.argumentNames), ...given };
  checkAllGiven(file, found, definition);
  const inputsSha256 = await digestInputs(file, found);
  const old = await readOld(image, inputsSha256, signal);
  if (old !== undefined) return { path: image, ...old, isCached: true };
  const all = { ...(await findCommit(file.argumentNames, folder)), ...found };
  const temporary = `${image}.building-${randomUUID()}`;
  const isFake = options.usesFakeroot ?? process.getuid?.() !== 0;
  const flags = Object.entries(all).flatMap(([name, value]) => ["--build-arg", `${name}=${value}`]);
  const args = ["build", ...(isFake ? ["--fakeroot"] : []), ...flags, temporary, definition];
  await mkdir(dirname(image), { recursive: true });
  try {
    const purpose = `build image ${JSON.stringify(image)}`;
    await runApptainer(args, { purpose, signal, program, cwd: folder, onLine: onProgress }).catch(explain(image));
    await sync(temporary);
    const identity = await imageIdentity(temporary, signal);
    await rename(temporary, image);
    const record = { inputsSha256, ...identity, builtAt: new Date().toISOString() };
    await writeAtomically(recordPath(image), `${JSON.stringify(record, null, 2)}\n`);
    return { path: image, ...identity, isCached: false };
  } finally {
    await rm(temporary, { force: true });
  }
}

function recordPath(image: string): string {
  return `${image}.build.json`;
}

/** The image there, if it is what those inputs were built to. */
async function readOld(image: string, inputsSha256: string, signal?: AbortSignal): Promise<ImageIdentity | undefined> {
  try {
    const record = recordSchema.parse(JSON.parse(await readFile(recordPath(image), "utf8")));
    if (record.inputsSha256 !== inputsSha256) return undefined;
    const identity = await imageIdentity(image, signal);
    return identity.sha256 === record.sha256 ? identity : undefined;
  } catch (error) {
    if (signal?.aborted === true) throw error;
    // No record, or one that cannot be read, says nothing about the image: it is built.
    return undefined;
  }
}

function checkArguments(
  given: Readonly<Record<string, string>>,
  names: readonly string[],
  definition: string,
): Readonly<Record<string, string>> {
  const unknown = Object.keys(given).find((name) => !names.includes(name));
  if (unknown === undefined) return given;
  throw new ConfigError(
    `Cannot build from ${JSON.stringify(definition)}: it has no argument ${JSON.stringify(unknown)}, its arguments are ${names.join(", ") || "none"}`,
    { code: "unknown_build_argument", details: { argument: unknown, known: names } },
  );
}

function checkAllGiven(
  { argumentNames, defaultedNames }: DefinitionFile,
  found: Readonly<Record<string, string>>,
  definition: string,
): void {
  const missing = argumentNames.find((name) => !defaultedNames.includes(name) && !(name in found));
  if (missing === undefined) return;
  const why = missing === "mirror" ? "apt on this machine names no mirror of Debian" : "it has no default";
  throw new ConfigError(
    `Cannot build from ${JSON.stringify(definition)}: its argument ${JSON.stringify(missing)} has no value (${why}), give one with --build-arg ${missing}=VALUE`,
    { code: "missing_build_argument", details: { argument: missing } },
  );
}

function findMirror(names: readonly string[]): Record<string, string> {
  const mirror = names.includes("mirror") ? aptMirror() : undefined;
  return mirror === undefined ? {} : { mirror };
}

/** The definition's default stays where there is no git repository. It is no input: another commit alone builds nothing. */
async function findCommit(names: readonly string[], folder: string): Promise<Record<string, string>> {
  if (!names.includes("commit")) return {};
  const args = ["-C", folder, "rev-parse", "HEAD"];
  const env = apptainerEnvironment(process.env);
  const { exitCode, stdout } = await runToEnd({ file: "git", args, env }, { purpose: "read the commit" });
  return exitCode === 0 ? { commit: stdout.trim() } : {};
}

function explain(image: string): (error: unknown) => never {
  return (error) => {
    if (!(error instanceof KittyError) || error.code !== "apptainer_failed") throw error;
    const remedy =
      'see what it printed; "kitty-kv doctor" checks what building needs (subuid, user namespaces, debootstrap), and root of a machine without all capabilities builds as an ordinary user';
    throw new KittyError(`Cannot build image ${JSON.stringify(image)}: ${error.message}, ${remedy}`, {
      code: "image_build_failed",
      details: error.details,
      cause: error,
    });
  };
}

async function sync(path: string): Promise<void> {
  const file = await open(path, "r");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}
