import { z } from "zod";
import { listInstances } from "../apptainer/list-instances.js";
import { stopInstances } from "../apptainer/stop-instances.js";
import { endpoint, type Endpoint } from "./endpoint.js";
import { instanceListSchema } from "./wire/instances.js";

const listAll = endpoint({
  method: "get",
  path: "/api/instances",
  tag: "instances",
  summary: "List instances",
  description: "Every Apptainer instance of this state folder, whichever process started it.",
  answers: [{ description: "The oldest first", schema: instanceListSchema }],
  handle: async () => ({ instances: await listInstances() }),
});

const stopOne = endpoint({
  method: "delete",
  path: "/api/instances/{name}",
  tag: "instances",
  summary: "Stop an instance",
  description: "Ends the workers in it, and removes what was kept of it.",
  answers: [{ description: "What was stopped", schema: z.object({ stopped: z.array(z.string()) }) }],
  handle: async ({ params }) => ({ stopped: await stopInstances([params["name"] ?? ""]) }),
});

export const INSTANCE_ENDPOINTS: readonly Endpoint[] = [listAll, stopOne];
