import { pipeline } from "node:stream/promises";
import { z } from "zod";
import { formatYaml } from "../config/format-yaml.js";
import { parseYaml } from "../config/parse-yaml.js";
import { eventSchema } from "../job/event-schemas.js";
import { jobListSchema, jobLogPageSchema, jobPageSchema, jobSchema } from "../job/job-schemas.js";
import { jobSpecSchema, type JobSpecInput } from "../job/job-spec.js";
import { JOB_STATES } from "../job/job-state.js";
import { checkJob } from "../orchestrator/jobs/check-job.js";
import { endpoint, type Context, type Endpoint } from "./endpoint.js";
import { idOf } from "./session-endpoints.js";
import { checkedSpecSchema } from "./wire/jobs.js";

const jobAnswer = [{ description: "The job", schema: jobSchema }];

const listJobs = endpoint({
  method: "get",
  path: "/api/jobs",
  tag: "jobs",
  summary: "List jobs",
  description: "Newest first; `next` asks for the next page.",
  query: z.strictObject({
    state: z.enum(JOB_STATES).optional(),
    parent: z.string().optional(),
    limit: z.coerce.number().int().min(1).max(500).optional(),
    cursor: z.string().optional(),
  }),
  answers: [{ description: "A page", schema: jobPageSchema }],
  handle: ({ services, query }) => services.jobs.list(query),
});

const submitJob = endpoint({
  method: "post",
  path: "/api/jobs",
  tag: "jobs",
  summary: "Submit a job",
  description: "With an `Idempotency-Key` header, the same spec answers with the same job; another spec is a conflict.",
  body: jobSpecSchema,
  checksItself: true,
  status: 201,
  answers: jobAnswer,
  handle: (context) =>
    context.services.jobs.submit(context.body as JobSpecInput, {
      idempotencyKey: context.request.get("idempotency-key"),
    }),
});

const submitJobs = endpoint({
  method: "post",
  path: "/api/jobs/batch",
  tag: "jobs",
  summary: "Submit many jobs",
  description: "All of them or none.",
  body: z.strictObject({ jobs: z.array(z.unknown()).min(1).max(1000) }),
  status: 201,
  answers: [{ description: "The jobs, in their order", schema: jobListSchema }],
  handle: async ({ services, body }) => ({ jobs: await services.jobs.submitMany(body.jobs as JobSpecInput[]) }),
});

const checkSpec = endpoint({
  method: "post",
  path: "/api/jobs/check",
  tag: "jobs",
  summary: "Check a job spec",
  description: "Refuses what would be refused when it is submitted, and stores nothing. `yaml` is the spec as text.",
  body: z.strictObject({ spec: z.unknown().optional(), yaml: z.string().optional() }),
  answers: [{ description: "The spec with its defaults", schema: checkedSpecSchema }],
  handle: ({ services, body: { spec, yaml } }) => {
    const given = yaml === undefined ? spec : parseYaml(yaml, "read this job spec");
    const checked = checkJob(given, services.kitty.config);
    // What a person wrote, not what the defaults add to it.
    return Promise.resolve({ spec: checked, yaml: formatYaml(given) });
  },
});

const readSpec = endpoint({
  ...{ method: "get", path: "/api/jobs/{id}/spec", tag: "jobs", summary: "Show a job's spec as YAML" },
  answers: [{ description: "The spec", contentType: "application/yaml" }],
  handle: async (context) => {
    const { spec } = await context.services.jobs.get(idOf(context));
    context.response.type("application/yaml; charset=utf-8").send(formatYaml(spec));
    return undefined;
  },
});

const readEvents = endpoint({
  ...{ method: "get", path: "/api/jobs/{id}/events", tag: "jobs", summary: "List a job's events" },
  description: "The oldest first, progress left out; the oldest are gone where `jobs.keepEvents` removed them.",
  answers: [{ description: "Its changes of state", schema: z.object({ events: z.array(eventSchema) }) }],
  handle: async (context) => ({ events: await context.services.jobs.history(idOf(context)) }),
});

const getJob = endpoint({
  ...{ method: "get", path: "/api/jobs/{id}", tag: "jobs", summary: "Show a job", answers: jobAnswer },
  handle: (context) => context.services.jobs.get(idOf(context)),
});

const cancelJob = endpoint({
  ...{ method: "post", path: "/api/jobs/{id}/cancel", tag: "jobs", summary: "Cancel a job", answers: jobAnswer },
  description: "Ends one that waits at once and asks one that runs to end; does nothing to one that has ended.",
  handle: (context) => context.services.jobs.cancel(idOf(context)),
});

const retryJob = endpoint({
  ...{ method: "post", path: "/api/jobs/{id}/retry", tag: "jobs", summary: "Retry a job", answers: jobAnswer },
  description: "Queues one that failed, was cancelled or ran out of time once more.",
  handle: (context) => context.services.jobs.retry(idOf(context)),
});

const count = z.coerce.number().int().nonnegative();

const readLogs = endpoint({
  method: "get",
  path: "/api/jobs/{id}/logs",
  tag: "jobs",
  summary: "Read a job's log",
  description: "From a byte on; `nextOffset` is where to go on.",
  query: z.strictObject({ offset: count.optional(), limitBytes: count.max(2 ** 20).optional() }),
  answers: [{ description: "A part of the log", schema: jobLogPageSchema }],
  handle: (context: Context<unknown, { offset?: number | undefined; limitBytes?: number | undefined }>) =>
    context.services.jobs.logs(idOf(context), context.query),
});

const readFile = endpoint({
  method: "get",
  path: "/api/jobs/{id}/files/{name}",
  tag: "jobs",
  summary: "Read a job's file",
  description: "One of those that its result names, such as `results.jsonl`.",
  answers: [{ description: "The file", contentType: "application/octet-stream" }],
  handle: async (context) => {
    const { services, params, response, signal } = context;
    const file = await services.jobs.openFile(idOf(context), params["name"] ?? "");
    response.type("application/octet-stream");
    await pipeline(file, response, { signal });
    return undefined;
  },
});

export const JOB_ENDPOINTS: readonly Endpoint[] = [
  ...[
    listJobs,
    submitJob,
    submitJobs,
    checkSpec,
    getJob,
    readSpec,
    readEvents,
    cancelJob,
    retryJob,
    readLogs,
    readFile,
  ],
];
