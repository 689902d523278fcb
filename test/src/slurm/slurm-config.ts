import { onTestFinished } from "vitest";
import type { ConfigInput } from "../../../src/index.js";
import { temporaryFolder } from "../../scripts/temporary-folder.js";
import { fixturePath } from "../fixture-worker.js";

/** A folder that lives as long as the test. */
export function folder(): string {
  const temporary = temporaryFolder();
  onTestFinished(() => {
    temporary[Symbol.dispose]();
  });
  return temporary.path;
}

/** Jobs on the test's cluster, with a small worker in place of a model. */
export function slurmConfig(path: string, slurm: ConfigInput["slurm"] = {}, program = "good_worker"): ConfigInput {
  return {
    runner: "slurm",
    worker: { python: fixturePath(program) },
    jobs: { folder: path },
    slurm: { container: "none", pollMinMs: 500, pollMaxMs: 2000, ...slurm },
  };
}

/** A batch of prompts, one after another. */
export function generate(prompts: string[], maxNewTokens = 3) {
  return { kind: "generate" as const, params: { prompts, maxNewTokens, concurrency: 1 } };
}

/** One that takes half a second a prompt and little of the machine. */
export function slow(prompts: number) {
  return generate(Array.from({ length: prompts }, () => "do:wait"));
}
