import { readRecords, type InstanceRecord } from "./instance-record.js";
import { isRunning } from "./process-identity.js";
import { NotFoundError } from "../errors.js";
import { stopInstance } from "./stop-instance.js";
import type { ApptainerOptions } from "./apptainer.js";

/**
 * `orphaned`: it runs, or its start was under way, and who wanted it is gone. `elsewhere`: on another machine, or in
 * another container of this one, whose processes cannot be seen from here.
 */
export type InstanceState = "starting" | "ready" | "dead" | "orphaned" | "elsewhere";

export interface Instance extends InstanceRecord {
  state: InstanceState;
}

/** All instances that were started with this state folder, the oldest first, whichever process started them. */
export async function listInstances(): Promise<Instance[]> {
  return (await readRecords()).map((record) => ({ ...record, state: stateOf(record) }));
}

function stateOf({ process, startedBy, owner, isReady }: InstanceRecord): InstanceState {
  const isStarted = isRunning(process ?? startedBy);
  if (isStarted === undefined) return "elsewhere";
  if (!isStarted) return process === null ? "orphaned" : "dead";
  // Until it is ready, it has nobody but the process that starts it.
  const wantedBy = owner ?? (isReady ? null : startedBy);
  if (wantedBy !== null && isRunning(wantedBy) === false) return "orphaned";
  return isReady ? "ready" : "starting";
}

/**
 * Stops and removes what nobody will ever stop: instances whose orchestrator was killed, and what is left of dead ones.
 * @returns their names
 */
export async function removeOrphans(options: Pick<ApptainerOptions, "program"> = {}): Promise<string[]> {
  const orphans = (await listInstances()).filter(
    ({ state, owner }) => state === "orphaned" || (state === "dead" && !(owner !== null && isRunning(owner) === true)),
  );
  // One after another: it is rare, and each looks through all processes.
  for (const { name } of orphans) await stopUnlessGone(name, options);
  return orphans.map(({ name }) => name);
}

/** Another process may clean up at the same time. */
async function stopUnlessGone(name: string, options: Pick<ApptainerOptions, "program">): Promise<void> {
  await stopInstance(name, options).catch(ignoreNotFound);
}

function ignoreNotFound(error: unknown): void {
  if (!(error instanceof NotFoundError)) throw error;
}
