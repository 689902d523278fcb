import { z } from "zod";
import { jobReportSchema } from "../job/report-schemas.js";
import { MOST_REPORTED_JOBS } from "../job/reported-kinds.js";
import { endpoint, type Endpoint } from "./endpoint.js";

const writeReport = endpoint({
  method: "post",
  path: "/api/reports",
  tag: "reports",
  summary: "Write a report about jobs",
  description:
    "The same as `kitty-kv report`, as data and as files; nothing is stored. A sweep stands for its children; of evaluations that have not succeeded it has what they answered so far.",
  body: z.strictObject({ jobs: z.array(z.string().min(1).max(100)).min(1).max(MOST_REPORTED_JOBS) }),
  answers: [{ description: "The report", schema: jobReportSchema }],
  handle: ({ services, body, signal }) => services.jobs.report(body.jobs, { signal }),
});

export const REPORT_ENDPOINTS: readonly Endpoint[] = [writeReport];
