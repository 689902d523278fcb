import { rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { KittyError, NotFoundError, UnsupportedError } from "../errors.js";
import { runApptainer, type ApptainerOptions } from "./apptainer.js";
import { releaseInstance } from "./instance-groups.js";
import { findInstanceProcesses } from "./instance-processes.js";
import { instancePlace, readRecord, type InstanceRecord } from "./instance-record.js";
import { isRunning, ownIdentity, type ProcessIdentity } from "./process-identity.js";

const GRACE_SECONDS = 5;
const KILL_LIMIT_MS = 10_000;
const POLL_MS = 50;

/**
 * Ends an instance and everything in it, and removes all that was kept of it: its lease, logs, scratch and record.
 * @throws NotFoundError `instance_not_found`; UnsupportedError `instance_elsewhere`; KittyError `instance_not_stopped`
 */
export async function stopInstance(name: string, options: Pick<ApptainerOptions, "program"> = {}): Promise<void> {
  const record = await readRecord(name);
  const place = record.process ?? record.startedBy;
  if (isRunning(place) === undefined && place.host !== ownIdentity().host) {
    throw new UnsupportedError(
      `Cannot stop instance ${name}: it runs on ${place.host}, whose processes cannot be reached from here; stop it there`,
      { code: "instance_elsewhere", details: { name, host: place.host } },
    );
  }
  if (record.process !== null && isRunning(record.process) === true) {
    await askToStop(name, options);
  }
  await removeInstance(record, options);
}

/** The same for one whose start failed: whatever there is of it goes, at once. */
export async function discardInstance(name: string, options: Pick<ApptainerOptions, "program">): Promise<void> {
  const record = await readRecord(name).catch((error: unknown) => {
    if (error instanceof NotFoundError) return undefined;
    throw error;
  });
  if (record !== undefined) await removeInstance(record, options);
}

/** Apptainer's own way: the workers in it are told to end and have a few seconds for it. */
async function askToStop(name: string, { program }: Pick<ApptainerOptions, "program">): Promise<void> {
  const args = ["instance", "stop", "--timeout", String(GRACE_SECONDS), name];
  await runApptainer(args, { purpose: `stop instance ${name}`, program }).catch((error: unknown) => {
    // Gone meanwhile, or so broken that it has to be killed, which follows.
    if (!(error instanceof KittyError)) throw error;
  });
}

async function removeInstance(record: InstanceRecord, { program }: Pick<ApptainerOptions, "program">): Promise<void> {
  const { name, files, process: holder } = record;
  // After a restart of the machine its number is another process's.
  await killAll(name, holder !== null && isRunning(holder) !== undefined ? holder : null);
  releaseInstance(name);
  // This is how Apptainer forgets one that did not end by its own command.
  const args = ["instance", "list", "--json", name];
  await runApptainer(args, { purpose: `forget instance ${name}`, program }).catch((error: unknown) => {
    if (!(error instanceof KittyError)) throw error;
  });
  await Promise.all(files.map((file) => rm(file, { force: true })));
  await rm(instancePlace(name).folder, { recursive: true, force: true });
}

/** Until two looks in a row find nothing: one that is just starting may be between two of its processes. */
async function killAll(name: string, holder: ProcessIdentity | null): Promise<void> {
  const deadline = Date.now() + KILL_LIMIT_MS;
  for (let quietLooks = 0; quietLooks < 2;) {
    const pids = findInstanceProcesses(name, holder);
    quietLooks = pids.length === 0 ? quietLooks + 1 : 0;
    for (const pid of pids) kill(pid);
    if (Date.now() > deadline) {
      throw new KittyError(
        `Cannot stop instance ${name}: processes ${pids.join(", ")} do not end ${String(KILL_LIMIT_MS)} ms after SIGKILL; see what holds them (a file system that hangs?) and stop it again`,
        { code: "instance_not_stopped", details: { name, pids } },
      );
    }
    if (quietLooks < 2) await sleep(POLL_MS);
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
