import { join } from "node:path";
import { parseJobSpec } from "../../../src/job/job-spec.js";
import { Database } from "../../../src/orchestrator/jobs/database.js";
import { EventTable } from "../../../src/orchestrator/jobs/event-table.js";
import { JobStore } from "../../../src/orchestrator/jobs/job-store.js";

const MINUTE_MS = 60_000;

/** Fills a home with jobs that have ended, as an orchestrator of the last weeks would have left them. */
export function seedJobs(home: string, count: number): void {
  const database = new Database(join(home, "jobs.db"), { journal: "wal" });
  const begun = Date.now() - count * MINUTE_MS;
  let now = begun;
  const store = new JobStore(database, new EventTable(database, () => now), () => now);
  database.transaction(() => {
    for (let index = 0; index < count; index++) {
      now = begun + index * MINUTE_MS;
      const name = `Seeded ${String(index).padStart(5, "0")}`;
      const [job] = store.insert([{ spec: parseJobSpec({ kind: "generate", name, priority: index % 7 }) }]);
      const state = index % 9 === 0 ? "failed" : index % 11 === 0 ? "cancelled" : "succeeded";
      const error = state === "failed" ? JSON.stringify({ code: "x", message: "The reason why", details: {} }) : null;
      const end = now + (index % 600) * 1000;
      database.run(
        "UPDATE jobs SET state = ?, attempt = 1, error = ?, started_at = ?, finished_at = ? WHERE id = ?",
        ...[state, error, now, end, job?.id ?? ""],
      );
    }
  });
  database.close();
}
