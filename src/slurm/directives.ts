import { ConfigError } from "../errors.js";
import { quoteForDirective } from "./quote.js";

/** What is asked of Slurm for one submission. */
export interface SlurmRequest {
  /** Unique, so that the submission can be found again. */
  name: string;
  comment: string;
  /** The job's working folder. */
  folder: string;
  /** In that folder; Slurm's own patterns (%a, %j) are allowed. */
  outputFile: string;
  array?: { count: number; parallel: number | null } | undefined;
  /** What it waits for, as sbatch has it: `afterok:11:12_3`; it is ended when that cannot come any more. */
  dependency?: string | undefined;
  partition: string | null;
  account: string | null;
  qos: string | null;
  timeLimitMinutes: number | null;
  nodes: number;
  cpus: number | null;
  memoryMiB: number | null;
  gpus: number;
  gpuType: string | null;
  /** In place of `gpus` and `gpuType`. */
  gres: string | null;
  constraint: string | null;
  /** So long before the time limit the job is told. */
  signalSeconds: number | null;
  /** Jobs with a higher one start later; below 0 is for operators. */
  nice: number;
  isRequeued: boolean;
  /** More options, as sbatch has them: `--reservation=name`. */
  directives: readonly string[];
  /** Names of options that are left out, of whichever of the above they are: `mem`. */
  suppress: readonly string[];
}

/**
 * The options of a submission as `#SBATCH` has them, quoted.
 * @throws ConfigError `invalid_directive`
 */
export function directivesOf(request: SlurmRequest): string[] {
  const suppressed = new Set(request.suppress.map((name) => name.replace(/^-+/, "")));
  const own = ownOptions(request)
    .filter(([name, value]) => value !== null && !suppressed.has(name))
    .map(([name, value]) =>
      value === true ? `--${name}` : `--${name}=${quoteForDirective(String(value), `--${name}`)}`,
    );
  const extra = request.directives.map(checkExtra);
  // Later ones win, so what the site's own lines say does.
  return [...own, ...extra];
}

type Option = readonly [name: string, value: string | number | true | null];

function ownOptions(request: SlurmRequest): Option[] {
  const { array, dependency = null, gpus, gpuType, gres, timeLimitMinutes, memoryMiB } = request;
  const parallel = array?.parallel ?? null;
  const tasks =
    array === undefined ? null : `0-${String(array.count - 1)}${parallel === null ? "" : `%${String(parallel)}`}`;
  const wanted = gpus === 0 ? null : ["gpu", ...(gpuType === null ? [] : [gpuType]), String(gpus)].join(":");
  return [
    ["job-name", request.name],
    ["comment", request.comment],
    ["chdir", checkFolder(request.folder)],
    ["output", request.outputFile],
    // A requeued job goes on in the same file.
    ["open-mode", "append"],
    ["array", tasks],
    ["dependency", dependency],
    ["kill-on-invalid-dep", dependency === null ? null : "yes"],
    ["partition", request.partition],
    ["account", request.account],
    ["qos", request.qos],
    ["time", timeLimitMinutes === null ? null : Math.max(1, Math.ceil(timeLimitMinutes))],
    ["nodes", request.nodes],
    ["ntasks", request.nodes],
    ["cpus-per-task", request.cpus],
    ["mem", memoryMiB === null ? null : `${String(memoryMiB)}M`],
    ["gres", gres ?? wanted],
    ["constraint", request.constraint],
    ["signal", signalOf(request)],
    ["nice", request.nice === 0 ? null : request.nice],
    ["requeue", request.isRequeued ? true : null],
  ];
}

/** The output file's path begins with it, in which Slurm puts other things in the place of %j and drops a backslash. */
function checkFolder(folder: string): string {
  if (!/[%\\]/.test(folder)) return folder;
  throw new ConfigError(
    `Cannot use the folder ${JSON.stringify(folder)} for jobs on the cluster: Slurm reads % and \\ in its path as something else; set slurm.folder to one without them`,
    { code: "invalid_directive", details: { folder } },
  );
}

// Slurm looks at time limits this often, and tells whoever would be told before its next look.
const SLURM_LOOKS_S = 30;
// To save what there is takes seconds.
const SHORTEST_WARNING_S = 15;

/**
 * A job with a short limit is told later, so that about half of its time is left to work in: one that is told as soon as it
 * has begun would go back into the queue again and again and get nowhere.
 */
function signalOf({ signalSeconds, timeLimitMinutes }: SlurmRequest): string | null {
  if (signalSeconds === null) return null;
  const halfS = Math.floor((Math.max(1, Math.ceil(timeLimitMinutes ?? Infinity)) * 60) / 2);
  return `B:USR1@${String(Math.min(signalSeconds, Math.max(SHORTEST_WARNING_S, halfS - SLURM_LOOKS_S)))}`;
}

/** An extra option goes in as it is written, one a line. */
function checkExtra(text: string): string {
  // eslint-disable-next-line no-control-regex -- control characters are what is looked for
  if (/^--?[A-Za-z]/.test(text) && !/[\u0000-\u001f\u007f]/.test(text)) return text;
  throw new ConfigError(
    `Cannot use ${JSON.stringify(text)} under slurm.directives: each is one option of sbatch in one line, such as --reservation=name`,
    { code: "invalid_directive", details: { directive: text } },
  );
}
