import type { JobKind } from "./job-spec.js";

/** What measures something that a report shows; a sweep of these stands for its children. */
export const MEASURING_KINDS: readonly JobKind[] = ["eval", "latency", "simulate"];

/** The most jobs that one report is asked of by name; a sweep is one. */
export const MOST_REPORTED_JOBS = 200;
