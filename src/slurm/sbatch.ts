import { runSlurm, SlurmError, type SlurmOptions } from "./run-slurm.js";

export interface Submitted {
  jobId: string;
  /** Of a site with several clusters. */
  cluster: string | null;
}

/**
 * Submits a script.
 * @throws SlurmError; one whose kind is `ambiguous` may have submitted it all the same
 */
export async function sbatch(script: string, purpose: string, options?: SlurmOptions): Promise<Submitted> {
  const { stdout, stderrTail } = await runSlurm("sbatch", ["--parsable", script], purpose, options);
  const submitted = parseSubmitted(stdout);
  if (submitted !== undefined) return submitted;
  throw new SlurmError(
    `Cannot ${purpose}: sbatch answered ${JSON.stringify(stdout.slice(0, 200))}, which is no job's number; see whether it was submitted`,
    "ambiguous",
    { stdout: stdout.slice(0, 2000), stderrTail },
  );
}

/**
 * What `sbatch --parsable` answered: `123` or `123;cluster`. Sites print more around it, and wrappers swallow the option
 * and say "Submitted batch job 123".
 */
export function parseSubmitted(stdout: string): Submitted | undefined {
  for (const line of stdout.split("\n").reverse()) {
    const match =
      /^(\d+)(?:;([\w.-]+))?$/.exec(line.trim()) ?? /Submitted batch job (\d+)(?: on cluster ([\w.-]+))?/.exec(line);
    if (match !== null) return { jobId: match[1] ?? "", cluster: match[2] ?? null };
  }
  return undefined;
}

/**
 * Asks whether a script would be taken, without submitting it.
 * @returns what the site says: when it would start, and where
 * @throws SlurmError with the site's own message
 */
export async function testSubmission(script: string, purpose: string, options?: SlurmOptions): Promise<string> {
  const { stderrTail } = await runSlurm("sbatch", ["--test-only", script], purpose, options);
  return stderrTail.at(-1)?.replace(/^sbatch: /, "") ?? "";
}
