import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";
import { z } from "zod";

/** What tells one process from every other, on this machine and on those that share its file system. */
export const processIdentitySchema = z.object({
  host: z.string(),
  /** Of this start of the kernel; with the PID namespace it says where `pid` means something. */
  bootId: z.string(),
  pidNamespace: z.string(),
  pid: z.number().int().positive(),
  /** Clock ticks from boot to the process's start: a number that was given again has another. */
  startTime: z.string(),
});
export type ProcessIdentity = z.output<typeof processIdentitySchema>;

/** Who this process is. */
export function ownIdentity(): ProcessIdentity {
  const identity = identityOf(process.pid);
  if (identity === undefined) throw new Error("Cannot tell this process from others: /proc/self/stat is not readable");
  return identity;
}

/**
 * Who a process of this machine is.
 * @returns undefined when it is gone
 */
export function identityOf(pid: number): ProcessIdentity | undefined {
  const startTime = readStartTime(pid);
  return startTime === undefined ? undefined : { host: hostname(), ...ownPlace(), pid, startTime };
}

/**
 * Whether that process runs.
 * @returns undefined when it cannot be told from here: another machine, another container, or another start of the kernel
 */
export function isRunning({ bootId, pidNamespace, pid, startTime }: ProcessIdentity): boolean | undefined {
  const here = ownPlace();
  // Host names are no proof: machines of one cluster image may share theirs.
  if (bootId !== here.bootId || pidNamespace !== here.pidNamespace) return undefined;
  return readStartTime(pid) === startTime;
}

function ownPlace(): Pick<ProcessIdentity, "bootId" | "pidNamespace"> {
  return {
    bootId: readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim(),
    pidNamespace: readlinkSync("/proc/self/ns/pid"),
  };
}

/** @returns undefined for a process that is gone, or that only waits to be reaped */
function readStartTime(pid: number): string | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${String(pid)}/stat`, "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ESRCH") return undefined;
    throw error;
  }
  // The name is in brackets and may itself hold brackets and spaces; fields 3 and 22 of proc(5) follow the last one.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19];
}
