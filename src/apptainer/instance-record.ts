import { mkdir, readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { KittyError, NotFoundError } from "../errors.js";
import { stateFolder } from "../util/state-folder.js";
import { instanceFacts } from "./instance-facts.js";
import { checkInstanceName } from "./instance-name.js";
import { processIdentitySchema } from "./process-identity.js";
import { writeAtomically } from "./write-atomically.js";

const recordSchema = z.strictObject({
  version: z.literal(1),
  ...instanceFacts,
  modelFolders: instanceFacts.modelFolders.readonly(),
  /** Who runs its start. */
  startedBy: processIdentitySchema,
  /** The orchestrator that ends with it; null for one that lives until somebody stops it. */
  owner: processIdentitySchema.nullable(),
  /** Apptainer's process that holds it; null until Apptainer has started it. */
  process: processIdentitySchema.nullable(),
  /** Whether a worker has answered in it. */
  isReady: z.boolean(),
  /** Files outside its folder that go with it: its lease on the overlay and Apptainer's own logs. */
  files: z.array(z.string()),
});

/** What is known of an instance; kept in a file, so that another process finds it. */
export type InstanceRecord = z.output<typeof recordSchema>;

export interface InstancePlace {
  folder: string;
  record: string;
  log: string;
  /** What the instance sees as /tmp. */
  scratch: string;
}

/** The folder that has one folder an instance. */
export function instancesFolder(): string {
  return join(stateFolder(), "instances");
}

export function instancePlace(name: string): InstancePlace {
  const folder = join(instancesFolder(), checkInstanceName(name));
  const [record, log, scratch] = ["instance.json", "log", "scratch"].map((file) => join(folder, file)) as [
    string,
    string,
    string,
  ];
  return { folder, record, log, scratch };
}

/** Writes a record; its folder, which only its user may enter, is made where it is missing. */
export async function writeRecord(record: InstanceRecord): Promise<void> {
  const place = instancePlace(record.name);
  await mkdir(place.scratch, { recursive: true, mode: 0o700 });
  await writeAtomically(place.record, `${JSON.stringify(record, null, 2)}\n`);
}

/** @throws NotFoundError `instance_not_found` */
export async function readRecord(name: string): Promise<InstanceRecord> {
  const record = await readIfThere(instancePlace(name).record);
  if (record !== undefined) return record;
  throw new NotFoundError(
    `Cannot find instance ${JSON.stringify(name)}: ${JSON.stringify(instancesFolder())} has none of that name, see "kitty-kv instance list"`,
    { code: "instance_not_found", details: { name } },
  );
}

/** All records, the oldest first. */
export async function readRecords(): Promise<InstanceRecord[]> {
  const names = await readdir(instancesFolder()).catch(whenMissing<string[]>([]));
  const found = await Promise.all(names.map((name) => readIfThere(join(instancesFolder(), name, "instance.json"))));
  return found.filter((record) => record !== undefined).sort((a, b) => (a.startedAt < b.startedAt ? -1 : 1));
}

/** @returns undefined where there is none, or one that is just being removed */
async function readIfThere(path: string): Promise<InstanceRecord | undefined> {
  const text = await readFile(path, "utf8").catch(whenMissing(undefined));
  if (text === undefined) return undefined;
  try {
    return recordSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new KittyError(
      `Cannot read what instances there are: ${JSON.stringify(path)} is damaged or of another version; stop what "apptainer instance list" shows of it and remove its folder`,
      { code: "instance_record_invalid", details: { path }, cause },
    );
  }
}

function whenMissing<T>(value: T): (error: unknown) => T {
  return (error) => {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT" && code !== "ENOTDIR") throw error;
    return value;
  };
}
