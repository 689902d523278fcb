import type { Placement } from "./slurm-submitter.js";

/** What belongs to one submission, in the order of its tasks. */
export interface TaskGroup<T> {
  tasks: T[];
  /** What it waits for in Slurm, as sbatch has it: `afterok:11:12_3`. */
  dependency: string | undefined;
}

interface Groupable {
  /** Equal for tasks that ask for the same. */
  key: string;
  /** The submitted tasks that must succeed first. */
  needs: readonly Placement[];
}

/**
 * Puts tasks together that may be one array: those that ask for the same and wait for the same; and those that wait for
 * one task each of another array, where every task of that one has one that waits for it.
 * @param limit most tasks of an array
 */
export function groupTasks<T extends Groupable>(tasks: readonly T[], limit: number): TaskGroup<T>[] {
  const groups: TaskGroup<T>[] = [];
  const others: T[] = [];
  for (const [, waiting] of groupBy(tasks, ({ key, needs }) => JSON.stringify([key, arrayOf(needs)]))) {
    const dependency = waiting.length > limit ? undefined : afterCorresponding(waiting);
    if (dependency === undefined) others.push(...waiting);
    else groups.push({ tasks: waiting.sort((a, b) => indexOf(a) - indexOf(b)), dependency });
  }
  for (const [, alike] of groupBy(others, ({ key, needs }) => JSON.stringify([key, afterOk(needs)]))) {
    const dependency = afterOk(alike[0]?.needs ?? []);
    for (let index = 0; index < alike.length; index += limit)
      groups.push({ tasks: alike.slice(index, index + limit), dependency });
  }
  return groups;
}

/** After all of these have succeeded; an array that is needed wholly is named once. */
function afterOk(needs: readonly Placement[]): string | undefined {
  if (needs.length === 0) return undefined;
  const ids = [...groupBy(needs, ({ jobId }) => jobId)].flatMap(([jobId, ofOne]) => {
    const own = new Set(ofOne.map(({ id }) => id));
    return own.size === ofOne[0]?.tasks ? [jobId] : [...own].sort();
  });
  return `afterok:${ids.sort().join(":")}`;
}

/** Each after its counterpart. */
function afterCorresponding(waiting: readonly Groupable[]): string | undefined {
  const array = arrayOf(waiting[0]?.needs ?? []);
  if (array?.tasks !== waiting.length) return undefined;
  return new Set(waiting.map(indexOf)).size === array.tasks ? `aftercorr:${array.jobId}` : undefined;
}

/** The array of which exactly one task is needed. */
function arrayOf(needs: readonly Placement[]): { jobId: string; tasks: number } | undefined {
  if (needs.length !== 1) return undefined;
  return needs.filter(({ tasks }) => tasks > 1).map(({ jobId, tasks }) => ({ jobId, tasks }))[0];
}

function indexOf({ needs }: Groupable): number {
  return needs[0]?.index ?? 0;
}

function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return groups;
}
