import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { CancelledError, KittyError, UnsupportedError } from "../errors.js";
import { runApptainer, type ApptainerOptions } from "./apptainer.js";
import { apptainerEnvironment } from "./apptainer-environment.js";
import { checkedPath } from "./checked-path.js";
import { startArguments, type ProgramFolders } from "./instance-arguments.js";
import { endWithThisProcess } from "./instance-groups.js";
import { InstanceLog } from "./instance-log.js";
import { newInstanceName } from "./instance-name.js";
import { instancePlace, writeRecord, type InstanceRecord } from "./instance-record.js";
import type { CheckedSettings } from "./instance-settings.js";
import { publishEntry } from "./lease-entry.js";
import { identityOf, ownIdentity, type ProcessIdentity } from "./process-identity.js";
import { discardInstance } from "./stop-instance.js";

const ATTEMPTS = 3;
const START_LIMIT_MS = 120_000;
// What Apptainer fails with, now and then, when many start at once.
const PASSING = /dbus|busctl|Connection refused|temporarily unavailable|failed to mount|resource busy|timed? ?out/i;

const listSchema = z.object({
  instances: z.array(
    z.object({ instance: z.string(), pid: z.number().int(), logErrPath: z.string(), logOutPath: z.string() }),
  ),
});

export interface StartInstanceOptions extends ApptainerOptions {
  programs: ProgramFolders;
  /** Whether the instance ends with this process. */
  isOwned: boolean;
}

/**
 * Starts one instance on an overlay that the caller has verified and holds a reader's lease on; it gets one of its own.
 * Nothing is left of one that fails, and one that is not wanted any more is stopped once it is up.
 * @throws KittyError `instance_start_failed`; UnsupportedError `limits_unsupported`; NotFoundError; CancelledError
 */
export async function startInstance(
  settings: CheckedSettings,
  options: StartInstanceOptions,
): Promise<InstanceRecord & { process: ProcessIdentity }> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await startOnce(newInstanceName(), settings, options);
    } catch (error) {
      if (attempt === ATTEMPTS || !isPassing(error)) throw explain(error, settings);
      await sleep(attempt * (200 + Math.random() * 300));
    }
  }
}

async function startOnce(name: string, settings: CheckedSettings, options: StartInstanceOptions) {
  const { signal, program, programs, isOwned } = options;
  const startedBy = ownIdentity();
  const startedAt = new Date().toISOString();
  const facts = { version: 1, name, ...settings, startedAt, startedBy, isReady: false } as const;
  const record: InstanceRecord = { ...facts, owner: isOwned ? startedBy : null, process: null, files: [] };
  await writeRecord(record);
  try {
    const purpose = `start instance ${name}`;
    const folders = { scratch: checkedPath(instancePlace(name).scratch, "a scratch folder"), programs };
    const hasLimits = settings.memoryMiB !== null || settings.cpus !== null;
    // Not the caller's signal: a start that is cut off half-way leaves processes without a name.
    await runApptainer(startArguments(name, settings, folders), {
      ...{ purpose, program, signal: AbortSignal.timeout(START_LIMIT_MS) },
      environment: hasLimits ? apptainerEnvironment(process.env) : withoutBus(apptainerEnvironment(process.env)),
    });
    const { holder, logs } = await findHolder(name, program);
    if (isOwned) endWithThisProcess(name, holder);
    const lease = await publishEntry(settings.overlay, "reader", `run instance ${name}`, holder);
    const started = { ...record, process: holder, files: [lease.path, ...logs] };
    await writeRecord(started);
    if (signal?.aborted === true) throw new CancelledError(`Cannot ${purpose}: it was interrupted`);
    new InstanceLog(name).write(`started on ${settings.image} and ${settings.overlay}`);
    return started;
  } catch (error) {
    await discardInstance(name, options);
    throw error;
  }
}

async function findHolder(
  name: string,
  program: string | undefined,
): Promise<{ holder: ProcessIdentity; logs: string[] }> {
  const stdout = await runApptainer(["instance", "list", "--json", name], {
    purpose: `find instance ${name}`,
    program,
  });
  const found = listSchema.parse(JSON.parse(stdout)).instances.find(({ instance }) => instance === name);
  // What Apptainer lists is the container's first process; the one above it lives as long and has the FUSE programs.
  const stat = found === undefined ? "" : readFileSync(`/proc/${String(found.pid)}/stat`, "utf8");
  const holder = identityOf(Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]));
  if (found !== undefined && holder !== undefined) return { holder, logs: [found.logErrPath, found.logOutPath] };
  throw new KittyError(`Cannot find instance ${name}: Apptainer started it and it ended at once`, {
    code: "apptainer_failed",
    details: { stderrTail: [] },
  });
}

/** Without limits no cgroup is needed, and asking the session's bus for one fails when many ask at once. */
function withoutBus(environment: Readonly<Record<string, string>>): Record<string, string> {
  const bus = ["DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"];
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !bus.includes(name)));
}

function isPassing(error: unknown): boolean {
  return error instanceof KittyError && error.code === "apptainer_failed" && PASSING.test(stderrOf(error));
}

function stderrOf({ details }: KittyError): string {
  return z.array(z.string()).parse(details["stderrTail"]).join("\n");
}

function explain(error: unknown, { image, overlay, memoryMiB, cpus }: CheckedSettings): unknown {
  if (!(error instanceof KittyError) || error.code !== "apptainer_failed") return error;
  const details = { ...error.details, image, overlay };
  if ((memoryMiB !== null || cpus !== null) && /cgroup/i.test(stderrOf(error))) {
    const message = `Cannot limit an instance to ${limitsOf(memoryMiB, cpus)}: ${error.message}; leave the limits out, or use a machine with systemd and cgroups v2`;
    return new UnsupportedError(message, { code: "limits_unsupported", details, cause: error });
  }
  const message = `Cannot start an instance of ${JSON.stringify(image)}: ${error.message}, see "kitty-kv doctor"`;
  return new KittyError(message, { code: "instance_start_failed", details, cause: error });
}

function limitsOf(memoryMiB: number | null, cpus: number | null): string {
  const limits = [memoryMiB === null ? "" : `${String(memoryMiB)} MiB`, cpus === null ? "" : `${String(cpus)} CPUs`];
  return limits.filter((limit) => limit !== "").join(" and ");
}
