import { trackChild } from "../process/live-children.js";

const releases = new Map<string, readonly (() => void)[]>();

/** Kills these process groups of an instance should this process exit without having stopped it. */
export function endWithThisProcess(name: string, pids: readonly number[]): void {
  releases.set(name, pids.map(trackChild));
}

/** The numbers may be somebody else's from here on. */
export function releaseGroups(name: string): void {
  for (const release of releases.get(name) ?? []) release();
  releases.delete(name);
}
