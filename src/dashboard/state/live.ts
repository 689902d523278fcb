import { signal } from "@preact/signals";
import type { Event, EventPage } from "../../server/wire/events.js";
import type { Job, JobPage, JobSummary } from "../../server/wire/jobs.js";
import { call, messageOf } from "../api/client.js";
import { EventFeed, type Connection } from "../api/event-feed.js";
import { JobTable } from "../model/job-table.js";

const PAGE = 500;
/** Older ones are on the server; a page that shows them all would be slow for nobody's good. */
export const MOST_JOBS = 20_000;
/** Per turn, so that a page which was away for long catches up without freezing. */
const TURN_MS = 8;
const MOST_RECENT = 100;

export const connection = signal<Connection>("connecting");
/** What all pages show of jobs. */
export const table = new JobTable();
/** Grows whenever the table has changed. */
export const version = signal(0);

/** The table, for a component that is drawn anew whenever it has changed. */
export function watchTable(): JobTable {
  return version.value >= 0 ? table : new JobTable();
}
/** Whether all jobs have come; before, the newest are there. */
export const isComplete = signal(false);
export const loadError = signal<string | undefined>(undefined);
/** The latest events of all topics, the newest first. */
export const recent = signal<readonly Event[]>([]);

const queue: Event[] = [];
let feed: EventFeed | undefined;
/** While lists are read, events wait: a list that was read before an event must not undo it. */
let isHeld = false;
let isScheduled = false;
let run = 0;

/** Reads the jobs and follows the events, until `stop`. */
export function start(): void {
  stop();
  void load(++run);
  document.addEventListener("visibilitychange", onShow);
  addEventListener("online", onShow);
}

export function stop(): void {
  run += 1;
  feed?.close();
  feed = undefined;
  queue.length = 0;
  document.removeEventListener("visibilitychange", onShow);
  removeEventListener("online", onShow);
}

/** Takes over a job that was just answered with, before its event comes. */
export function remember(job: Job): void {
  // The large parts are old as soon as the job goes on, and whoever shows them asks for them.
  const summary = Object.fromEntries(Object.entries(job).filter(([name]) => name !== "spec" && name !== "result"));
  table.put([summary as JobSummary]);
  version.value += 1;
}

function onShow(): void {
  if (document.visibilityState === "visible") void feed?.check();
}

async function load(current: number): Promise<void> {
  isHeld = true;
  try {
    const { latest } = await call<EventPage>("/api/events?limit=1");
    if (current !== run) return;
    feed ??= new EventFeed(latest, {
      onEvent: (event) => {
        queue.push(event);
        schedule();
      },
      onConnection: (state) => (connection.value = state),
      onReset: start,
    });
    await readJobs(current);
    loadError.value = undefined;
  } catch (error) {
    if (current !== run) return;
    loadError.value = messageOf(error);
    connection.value = "offline";
    setTimeout(() => void (current === run && load(current)), 3000);
    return;
  }
  isHeld = false;
  schedule();
}

async function readJobs(current: number): Promise<void> {
  table.clear();
  isComplete.value = false;
  let cursor: string | null | undefined;
  while (cursor !== null && table.size < MOST_JOBS) {
    const from: string = cursor === undefined ? "" : `&cursor=${cursor}`;
    const page: JobPage = await call<JobPage>(`/api/jobs?limit=${String(PAGE)}${from}`);
    if (current !== run) return;
    table.put(page.jobs);
    version.value += 1;
    cursor = page.next;
  }
  isComplete.value = true;
}

function schedule(): void {
  if (isScheduled || isHeld || queue.length === 0) return;
  isScheduled = true;
  // A hidden page has no frames.
  if (document.visibilityState === "hidden") setTimeout(drain, 200);
  else requestAnimationFrame(drain);
}

function drain(): void {
  isScheduled = false;
  const until = performance.now() + TURN_MS;
  const taken: Event[] = [];
  for (const event of queue) {
    taken.push(event);
    if (event.type === "snapshot") {
      // Events were removed before we had read them: only the list knows.
      void load(run);
      break;
    }
    const unknown = table.apply(event);
    if (unknown !== undefined) void fetchJob(unknown);
    if (taken.length % 64 === 0 && performance.now() > until) break;
  }
  queue.splice(0, taken.length);
  recent.value = [...taken.slice(-MOST_RECENT).reverse(), ...recent.value].slice(0, MOST_RECENT);
  version.value += 1;
  schedule();
}

const asked = new Set<string>();

async function fetchJob(id: string): Promise<void> {
  if (asked.has(id)) return;
  asked.add(id);
  try {
    remember(await call<Job>(`/api/jobs/${encodeURIComponent(id)}`));
  } catch {
    // It is gone by now, or the next event asks again.
  } finally {
    asked.delete(id);
  }
}
