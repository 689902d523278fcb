import type { JobState } from "./job-state.js";

export const EVENT_TOPICS = ["job", "session", "instance", "overlay", "system"] as const;
export type EventTopic = (typeof EVENT_TOPICS)[number];

/** Something that happened, to be appended to the log. */
export interface NewEvent {
  topic: EventTopic;
  /** `job.state`, `session.opened`, … */
  type: string;
  /** What it happened to: a job's, session's or instance's id. */
  id: string | null;
  data: Readonly<Record<string, unknown>>;
}

/** An event in the log; sequence numbers are global, grow by appending and are never given twice. */
export interface KittyEvent extends NewEvent {
  seq: number;
  /** ISO 8601 in UTC; clocks jump, so order by `seq`. */
  time: string;
}

/** A job's change of state. */
export interface JobStateEvent extends KittyEvent {
  topic: "job";
  type: "job.state";
  id: string;
  data: { state: JobState; previous: JobState | null; attempt: number; error?: unknown };
}

/** How far a running job is. */
export interface JobProgressEvent extends KittyEvent {
  topic: "job";
  type: "job.progress";
  id: string;
  data: { done: number; total: number };
}

export type JobEvent = JobStateEvent | JobProgressEvent;

export function isJobEvent(event: KittyEvent): event is JobEvent {
  return event.type === "job.state" || event.type === "job.progress";
}
