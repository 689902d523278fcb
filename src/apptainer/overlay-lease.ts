import { rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { CancelledError, KittyError, OverlayInUseError } from "../errors.js";
import {
  listEntries,
  publishEntry,
  touchEntry,
  type LeaseEntry,
  type LeaseHolder,
  type LeaseKind,
} from "./lease-entry.js";

const HEARTBEAT_MS = 15_000;
const ATTEMPTS = 12;
const MAX_PAUSE_MS = 150;
// Whoever came this recently may still be about to step back.
const ARRIVING_MS = 2000;

export interface LeaseOptions {
  kind: LeaseKind;
  /** What the overlay is wanted for; others read it when they are refused. */
  purpose: string;
  signal?: AbortSignal | undefined;
}

/** The right to write an overlay alone, or to read it with others. */
export interface OverlayLease extends AsyncDisposable {
  readonly holder: LeaseHolder;
  /** Aborts when the lease was taken from us: from then on others may write. */
  readonly lost: AbortSignal;
  release(): Promise<void>;
}

/**
 * Takes a lease on an overlay: one writer or many readers, between processes and machines that share its folder.
 *
 * Everybody first publishes an entry and then reads all of them, so of two that exclude each other at least one sees the
 * other and steps back; when both do, both try again after a random pause. There is no lock that a crash could leave.
 * A holder that died is recognised by pid, start time and boot where its processes can be seen, and elsewhere by five
 * minutes without a heartbeat.
 * @throws OverlayInUseError with `details.holders`; CancelledError
 */
export async function acquireOverlayLease(overlay: string, options: LeaseOptions): Promise<OverlayLease> {
  const { kind, purpose, signal } = options;
  for (let attempt = 1; ; attempt += 1) {
    if (signal?.aborted === true) throw new CancelledError(`Cannot ${purpose}: it was interrupted`);
    const entry = await publishEntry(overlay, kind, purpose);
    let others: LeaseHolder[];
    try {
      others = await findConflicts(overlay, entry);
    } catch (error) {
      await rm(entry.path, { force: true });
      throw error;
    }
    if (others.length === 0) return new HeldLease(entry);
    await rm(entry.path, { force: true });
    if (attempt === ATTEMPTS || !others.every(isArriving)) throw inUse(overlay, options, others);
    await sleep(Math.random() * MAX_PAUSE_MS);
  }
}

async function findConflicts(overlay: string, own: LeaseEntry): Promise<LeaseHolder[]> {
  const entries = await listEntries(overlay, own);
  if (!entries.some(({ path }) => path === own.path)) {
    throw new KittyError(
      `Cannot take a lease on ${JSON.stringify(overlay)}: its own entry ${JSON.stringify(own.path)} is not in the folder's listing; this file system does not show changes at once, keep the overlay on another`,
      { code: "lease_not_visible", details: { overlay, entry: own.path } },
    );
  }
  const excludes = ({ kind }: LeaseHolder): boolean => own.holder.kind === "writer" || kind === "writer";
  return entries.filter(({ path, holder }) => path !== own.path && excludes(holder)).map(({ holder }) => holder);
}

function isArriving({ since }: LeaseHolder): boolean {
  return Math.abs(Date.now() - Date.parse(since)) < ARRIVING_MS;
}

function inUse(overlay: string, { kind, purpose }: LeaseOptions, holders: LeaseHolder[]): OverlayInUseError {
  const [first] = holders;
  const who =
    first === undefined ? "" : `${first.purpose} by process ${String(first.pid)} on ${first.host} since ${first.since}`;
  const more = holders.length > 1 ? ` and ${String(holders.length - 1)} more` : "";
  const state = first?.kind === "writer" ? "being written" : "being read";
  const wanted = kind === "writer" ? "a writer needs it alone" : "readers wait until it is written";
  return new OverlayInUseError(
    `Cannot ${purpose}: ${JSON.stringify(overlay)} is ${state} (${who}${more}) and ${wanted}; try again when that has ended, or stop it`,
    { details: { overlay, wanted: kind, holders } },
  );
}

class HeldLease implements OverlayLease {
  readonly #entry: LeaseEntry;
  readonly #lost = new AbortController();
  readonly #timer: NodeJS.Timeout;

  constructor(entry: LeaseEntry) {
    this.#entry = entry;
    this.#timer = setInterval(() => void this.#beat(), HEARTBEAT_MS);
    this.#timer.unref();
  }

  get holder(): LeaseHolder {
    return this.#entry.holder;
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  async release(): Promise<void> {
    clearInterval(this.#timer);
    await rm(this.#entry.path, { force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }

  async #beat(): Promise<void> {
    // A file system that fails for a moment is no loss: others wait for twenty heartbeats.
    const isThere = await touchEntry(this.#entry).catch(() => true);
    if (!isThere) this.#lost.abort();
  }
}
