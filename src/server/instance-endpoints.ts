import { z } from "zod";
import { checkInstanceName } from "../apptainer/instance-name.js";
import { listInstances, type Instance } from "../apptainer/list-instances.js";
import { readInstanceLogPage } from "../apptainer/read-instance-log-page.js";
import { stopInstances } from "../apptainer/stop-instances.js";
import { NotFoundError } from "../errors.js";
import { endpoint, type Context, type Endpoint } from "./endpoint.js";
import { instanceListSchema, instanceSchema, logPageSchema, startInstancesBodySchema } from "./wire/instances.js";

const listAll = endpoint({
  method: "get",
  path: "/api/instances",
  tag: "instances",
  summary: "List instances",
  description: "Every Apptainer instance of this state folder, whichever process started it.",
  answers: [{ description: "The oldest first", schema: instanceListSchema }],
  handle: async () => ({ instances: await listInstances() }),
});

const startSome = endpoint({
  method: "post",
  path: "/api/instances",
  tag: "instances",
  summary: "Start instances",
  description:
    "On an image and its sealed overlay; answers once a worker has answered in each, all or none. They live until they are stopped. A client that closes its connection gives the start up.",
  body: startInstancesBodySchema,
  status: 201,
  answers: [{ description: "Those that were started", schema: instanceListSchema }],
  handle: async ({ services, body, signal }) => {
    const { count, nvidia: hasNvidia, ...settings } = body;
    try {
      const started = await services.containers.startInstances({ hasNvidia, ...settings }, { count, signal });
      const names = new Set(started.map(({ name }) => name));
      return { instances: (await listInstances()).filter(({ name }) => names.has(name)) };
    } finally {
      await services.instances.look();
    }
  },
});

const getOne = endpoint({
  method: "get",
  path: "/api/instances/{name}",
  tag: "instances",
  summary: "Show an instance",
  answers: [{ description: "The instance", schema: instanceSchema }],
  handle: (context) => find(nameOf(context)),
});

const stopOne = endpoint({
  method: "delete",
  path: "/api/instances/{name}",
  tag: "instances",
  summary: "Stop an instance",
  description: "Ends the workers in it, and removes what was kept of it.",
  answers: [{ description: "What was stopped", schema: z.object({ stopped: z.array(z.string()) }) }],
  handle: async (context) => {
    const stopped = await stopInstances([nameOf(context)]);
    await context.services.instances.look();
    return { stopped };
  },
});

const count = z.coerce.number().int().nonnegative();

const readLog = endpoint({
  method: "get",
  path: "/api/instances/{name}/logs",
  tag: "instances",
  summary: "Read an instance's log",
  description: "From a byte on; `nextOffset` is where to go on.",
  query: z.strictObject({
    offset: count.max(Number.MAX_SAFE_INTEGER).default(0),
    limitBytes: count.max(2 ** 20).optional(),
  }),
  answers: [{ description: "A part of the log", schema: logPageSchema }],
  handle: (context) => readInstanceLogPage(nameOf(context), context.query),
});

export const INSTANCE_ENDPOINTS: readonly Endpoint[] = [listAll, startSome, getOne, stopOne, readLog];

async function find(wanted: string): Promise<Instance> {
  const found = (await listInstances()).find(({ name }) => name === wanted);
  if (found !== undefined) return found;
  throw new NotFoundError(`Cannot find instance ${JSON.stringify(wanted)}: there is none, see GET /api/instances`, {
    code: "instance_not_found",
    details: { name: wanted },
  });
}

/** @throws ConfigError `invalid_instance_name` */
function nameOf({ params }: Pick<Context, "params">): string {
  return checkInstanceName(params["name"] ?? "");
}
