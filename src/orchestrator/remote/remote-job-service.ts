import type { Readable } from "node:stream";
import { z } from "zod";
import type { KittyEvent } from "../../job/event.js";
import type { EventFeed } from "../../job/event-log.js";
import { eventSchema } from "../../job/event-schemas.js";
import { jobListSchema, jobLogPageSchema, jobPageSchema, jobSchema } from "../../job/job-schemas.js";
import type { JobSpecInput } from "../../job/job-spec.js";
import type { JobLogPage, JobPage, JobService, ListJobsOptions, SubmitOptions } from "../../job/job-service.js";
import type { Job } from "../../job/job.js";
import { jobReportSchema, type JobReport } from "../../job/report-schemas.js";
import { checkIdempotencyKey } from "../jobs/check-idempotency-key.js";
import { waitForEnd } from "../jobs/wait-for-end.js";
import type { HttpClient } from "./http-client.js";
import { RemoteEventFeed } from "./remote-event-feed.js";

const PATH = "/api/jobs";
const historySchema = z.object({ events: z.array(eventSchema) });

/** The jobs of a server. Paths in specs are the server's. */
export class RemoteJobService implements JobService {
  readonly events: EventFeed;
  readonly #client: HttpClient;
  readonly #feed: RemoteEventFeed;

  constructor(client: HttpClient) {
    this.#client = client;
    this.events = this.#feed = new RemoteEventFeed(client);
  }

  async submit(spec: JobSpecInput, { idempotencyKey }: SubmitOptions = {}): Promise<Job> {
    checkIdempotencyKey(idempotencyKey);
    const headers = idempotencyKey === undefined ? {} : { "idempotency-key": idempotencyKey };
    return toJob(await this.#client.call(PATH, jobSchema, { body: spec, headers }));
  }

  async submitMany(specs: readonly JobSpecInput[]): Promise<Job[]> {
    if (specs.length === 0) return [];
    const { jobs } = await this.#client.call(`${PATH}/batch`, jobListSchema, { body: { jobs: specs } });
    return jobs.map(toJob);
  }

  async get(id: string): Promise<Job> {
    return toJob(await this.#client.call(pathOf(id), jobSchema));
  }

  async list(options: ListJobsOptions = {}): Promise<JobPage> {
    const { jobs, next } = await this.#client.call(`${PATH}${toQuery(options)}`, jobPageSchema);
    return { jobs, next };
  }

  async cancel(id: string): Promise<Job> {
    return toJob(await this.#client.call(`${pathOf(id)}/cancel`, jobSchema, { method: "POST" }));
  }

  async retry(id: string): Promise<Job> {
    return toJob(await this.#client.call(`${pathOf(id)}/retry`, jobSchema, { method: "POST" }));
  }

  async history(id: string): Promise<KittyEvent[]> {
    return (await this.#client.call(`${pathOf(id)}/events`, historySchema)).events;
  }

  async logs(id: string, options: { offset?: number; limitBytes?: number } = {}): Promise<JobLogPage> {
    return await this.#client.call(`${pathOf(id)}/logs${toQuery(options)}`, jobLogPageSchema);
  }

  async openFile(id: string, name: string): Promise<Readable> {
    return await this.#client.open(`${pathOf(id)}/files/${encodeURIComponent(name)}`);
  }

  async report(ids: readonly string[], { signal }: { signal?: AbortSignal | undefined } = {}): Promise<JobReport> {
    return await this.#client.call("/api/reports", jobReportSchema, { body: { jobs: ids }, signal });
  }

  async wait(id: string, { signal }: { signal?: AbortSignal | undefined } = {}): Promise<Job> {
    return await waitForEnd(this, id, signal);
  }

  async close(): Promise<void> {
    this.#feed.close();
    await Promise.resolve();
  }
}

/** The server checked the spec, and a later one may have kinds and params that this version has not. */
function toJob(job: z.output<typeof jobSchema>): Job {
  return job as unknown as Job;
}

/** `?name=value&…` of what is given; nothing for nothing. */
function toQuery(values: object): string {
  const given = Object.entries(values).filter(([, value]) => value !== undefined);
  if (given.length === 0) return "";
  return `?${new URLSearchParams(given.map(([name, value]): [string, string] => [name, String(value)])).toString()}`;
}

function pathOf(id: string): string {
  return `${PATH}/${encodeURIComponent(id)}`;
}
