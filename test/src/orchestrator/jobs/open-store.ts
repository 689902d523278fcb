import { join } from "node:path";
import { parseJobSpec, type JobSpec } from "../../../../src/job/job-spec.js";
import { Database } from "../../../../src/orchestrator/jobs/database.js";
import { EventTable } from "../../../../src/orchestrator/jobs/event-table.js";
import { JobStore } from "../../../../src/orchestrator/jobs/job-store.js";

/** A store in a folder, with a clock of its own. */
export function openStore(folder: string, now: () => number = Date.now): JobStore & Disposable {
  const database = new Database(join(folder, "jobs.db"), { journal: "wal" });
  const store = new JobStore(database, new EventTable(database, now), now);
  return Object.assign(store, {
    [Symbol.dispose]: () => {
      store.events.close();
      database.close();
    },
  });
}

export function spec(changes: Record<string, unknown> = {}): JobSpec {
  return parseJobSpec({ kind: "simulate", ...changes });
}
