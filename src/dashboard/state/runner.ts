import { signal } from "@preact/signals";
import type { System } from "../../server/wire/system.js";
import { call } from "../api/client.js";

/** Where the orchestrator runs jobs; undefined until it has said so. */
export const runner = signal<string | undefined>(undefined);

/** Asks for it, as the orchestrator may have come back with another configuration. */
export async function readRunner(): Promise<void> {
  try {
    const { config } = await call<System>("/api/system");
    runner.value = String(config["runner"]);
  } catch {
    // What the page shows of the orchestrator says so itself; asked again with the next connection.
  }
}
