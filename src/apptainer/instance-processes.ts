import { readFileSync, readdirSync, statSync } from "node:fs";
import { basename } from "node:path";
import { identityOf, type ProcessIdentity } from "./process-identity.js";

interface ProcessFacts {
  pid: number;
  parent: number;
  session: number;
  command: readonly string[];
}

const FUSE_PROGRAMS = /^(squashfuse(_ll)?|fuse2fs|fuse-overlayfs|gocryptfs)$/;

/**
 * Every process, of those this user may end, that belongs to an instance: Apptainer's own, by the instance's name, with what they
 * started, and the FUSE programs, which outlive a killed instance but stay in its session.
 * @param holder Apptainer's process that holds the instance, where it is known
 */
export function findInstanceProcesses(name: string, holder: ProcessIdentity | null): number[] {
  const all = listProcesses();
  const found = new Set(all.filter(({ command }) => isOfInstance(name, command)).map(({ pid }) => pid));
  if (holder !== null && isSessionOurs(holder)) {
    for (const { pid, session, command } of all) {
      if (session === holder.pid && FUSE_PROGRAMS.test(basename(command[0] ?? ""))) found.add(pid);
    }
  }
  let size: number;
  do {
    size = found.size;
    for (const { pid, parent } of all) if (found.has(parent)) found.add(pid);
  } while (found.size > size);
  found.delete(process.pid);
  return [...found];
}

function isOfInstance(name: string, command: readonly string[]): boolean {
  const [program = ""] = command;
  if (program.startsWith("Apptainer instance:")) return program.trimEnd().endsWith(`[${name}]`);
  return basename(program) === "apptainer" && (command.includes(name) || command.includes(`instance://${name}`));
}

/** While a session has members its number is not given again, but it may have been after the last one left. */
function isSessionOurs({ pid, startTime }: ProcessIdentity): boolean {
  const leader = identityOf(pid);
  return leader === undefined || leader.startTime === startTime;
}

function listProcesses(): ProcessFacts[] {
  const own = process.getuid?.() ?? 0;
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .flatMap((entry) => {
      try {
        const folder = `/proc/${entry}`;
        if (own !== 0 && statSync(folder).uid !== own) return [];
        const stat = readFileSync(`${folder}/stat`, "utf8");
        const [state, parent, , session] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
        if (state === "Z" || state === "X") return [];
        const command = readFileSync(`${folder}/cmdline`, "utf8").split("\0");
        return [{ pid: Number(entry), parent: Number(parent), session: Number(session), command }];
      } catch {
        // It ended meanwhile.
        return [];
      }
    });
}
