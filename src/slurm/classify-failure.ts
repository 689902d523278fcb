/**
 * What a failure means for whoever made the call.
 * - `refused`: the request is wrong, and it will not be right a minute later;
 * - `busy`: a limit that passes;
 * - `unreachable`: nothing arrived, so nothing was done;
 * - `ambiguous`: it may have been done all the same;
 * - `no_such_job`: the job is not known, any more or yet;
 * - `accounting_off`: there is no accounting to ask;
 * - `failed`: anything else.
 */
export type FailureKind =
  "refused" | "busy" | "unreachable" | "ambiguous" | "no_such_job" | "accounting_off" | "failed";

export interface Failure {
  kind: FailureKind;
  /** The site's own words. */
  reason: string;
  remedy: string;
}

const LOOK = "see whether it was done before it is tried again";
const WAIT = "wait until the controller answers again (scontrol ping)";

/** The first that matches counts; the words are those of Slurm 20.11 to 25.05 and later. */
const KNOWN: readonly (readonly [RegExp, FailureKind, string])[] = [
  [/socket timed out on send\/recv/i, "ambiguous", LOOK],
  // It had the request perhaps, and its answer was lost.
  [
    /unable to contact slurm controller \((send|receive|shutdown) failure|message (send|receive) failure/i,
    "ambiguous",
    LOOK,
  ],
  [/connection timed out establishing/i, "unreachable", WAIT],
  [/zero bytes were transmitted or received|transport endpoint is not connected/i, "ambiguous", LOOK],
  [/connection (reset by peer|timed out)|communication (connection|shutdown) failure/i, "ambiguous", LOOK],
  [
    /invalid entry for --cluster/i,
    "refused",
    'see the clusters with "sacctmgr list clusters" and correct slurm.directives',
  ],
  [
    /accounting storage is disabled/i,
    "accounting_off",
    "this site keeps no accounting; results come from the job's folder",
  ],
  [
    /(problem|error) (talking|connecting) to (the )?(slurm ?)?database|slurmdbd.*(refused|failed)|slurm_persist_conn_open/i,
    "unreachable",
    "the accounting daemon does not answer; it is asked again",
  ],
  [/unable to contact slurm controller|slurm_receive_msg|connection refused|connect failure/i, "unreachable", WAIT],
  [/backup controller|in standby mode|slurmctld is (down|not running)/i, "unreachable", WAIT],
  [
    /could not establish a configuration source|unable to process configuration|resolve.*(controller|hostname)|slurm\.conf/i,
    "failed",
    "this machine has no working Slurm configuration; run it on a login node, or set SLURM_CONF",
  ],
  [
    /munge|authentication (credential|error|of user)/i,
    "failed",
    "authentication failed; is munged running here, with the cluster's key and clock?",
  ],
  [
    /incompatible versions of client and server/i,
    "failed",
    "the commands here are of another version than the controller; use those of the cluster's login node",
  ],
  [
    /invalid partition|no partition specified|partition.*not (available|valid|supported)|not in this partition/i,
    "refused",
    'choose one of "sinfo -s" and set slurm.partition',
  ],
  [
    /partition (is |in )?(down|inactive)|in state (down|inactive|drain)/i,
    "refused",
    'the partition takes no jobs now; choose another one of "sinfo -s" for slurm.partition',
  ],
  [
    /invalid account|account\/partition combination|user.*not.*account|unknown association/i,
    "refused",
    'see yours with "sacctmgr show assoc user=$USER format=account,partition,qos" and set slurm.account',
  ],
  [
    /invalid qos|qos specification|qos.*not (permitted|allowed)/i,
    "refused",
    'see yours with "sacctmgr show assoc user=$USER format=account,qos" and set slurm.qos',
  ],
  [
    /job violates accounting\/qos policy|qos.*(limit|max)|association.*limit|submit limit/i,
    "busy",
    "a limit of your account or QoS is reached; wait until some of your jobs have ended, or ask for less",
  ],
  [
    /slurm temporarily unable to accept job|resource temporarily unavailable|retry later|too many (jobs|requests)|rate limit|create job record, try again|MaxJobCount|submissions disabled/i,
    "busy",
    "the site takes no more jobs just now; it is tried again",
  ],
  [
    /maxsubmitjobs|exceeds? (the )?(maximum|max).*jobs|job limit/i,
    "busy",
    "too many of your jobs are queued; wait until some have ended",
  ],
  [
    /invalid job array|array.*(size|index)/i,
    "refused",
    "set slurm.maxArraySize to what the site allows (scontrol show config: MaxArraySize)",
  ],
  [
    /invalid generic resource|invalid gres|gres (specification|option)|invalid (tres|gpu|trackable resource)/i,
    "refused",
    'see the types with "sinfo -o %G" and set slurm.gpuType or slurm.gres',
  ],
  [/invalid (preferred )?feature/i, "refused", 'see the features with "sinfo -o %f" and set slurm.constraint'],
  [
    /invalid --[\w-]+ (specification|value)|invalid numeric value .* for --/i,
    "refused",
    "correct it under slurm in the configuration, or in the job's resources",
  ],
  [
    /time ?limit|requested time/i,
    "refused",
    "ask for less with resources.timeLimitMinutes or slurm.timeLimitMinutes, or choose another partition",
  ],
  [
    /memory (required|specification|request)|requesting memory|--mem/i,
    "refused",
    'ask for less, or suppress the directive where the site refuses it (slurm.suppress: ["mem"])',
  ],
  [
    /requested (node|topology) configuration is not available|more (processors|cpus|nodes) requested|too many nodes|(node|cpu|task) count|required node not available/i,
    "refused",
    'no node has as much (CPUs, memory, GPUs of this type); see "sinfo -N -O NodeList,CPUs,Memory,Gres" and ask for less',
  ],
  [/invalid reservation|reservation/i, "refused", "name a reservation that you may use in slurm.directives"],
  [
    /(invalid|circular).* dependency|dependency problem/i,
    "refused",
    "the jobs that it depends on are not known to Slurm any more",
  ],
  [
    /invalid wckey|invalid license|invalid node name|invalid constraint|invalid cluster/i,
    "refused",
    "correct it under slurm in the configuration",
  ],
  [
    /job size specification|working directory specified|environment is missing/i,
    "refused",
    "a directive that this site needs is left out; correct slurm.suppress, or add it to slurm.directives",
  ],
  [
    /unrecognized option|unknown option|invalid option|ambiguous option|illegal option/i,
    "refused",
    "this version of Slurm does not know the option; remove it from slurm.directives or add its name to slurm.suppress",
  ],
  [/batch script|not a (valid|shell) script|dos line breaks|pathname of a file/i, "refused", "correct slurm.template"],
  [
    /user'?s? (group|id) not permitted|access\/permission denied|permission denied|not authorized|root.*not allowed/i,
    "refused",
    "the site does not let this user do it; choose another partition or account",
  ],
  [
    /(i\/o|input\/output) error writing script|no space left|quota/i,
    "failed",
    "the controller cannot store the job; tell the site's administrators",
  ],
  [/invalid job id|job\/step already completing|already (completed|finished)/i, "no_such_job", "it has ended already"],
];

/** What stderr says, in the site's words, and what it means. */
export function classifyFailure(stderr: readonly string[]): Failure {
  const lines = stderr.map((line) => line.trim()).filter((line) => line !== "");
  for (const [pattern, kind, remedy] of KNOWN) {
    // Of an error in two lines the second says most, but the first may say what it is about.
    const line = lines.findLast((said) => pattern.test(said));
    if (line !== undefined) return { kind, reason: clean(kind === "refused" ? bestOf(lines, line) : line), remedy };
  }
  return {
    kind: "failed",
    reason: clean(lines.at(-1) ?? ""),
    remedy: "see the site's documentation, or ask its administrators",
  };
}

/** Sites' own submit filters say why in lines before Slurm's general one. */
function bestOf(lines: readonly string[], line: string): string {
  const own = lines.filter((said) => said.startsWith("sbatch: error: ") && !/batch job submission failed/i.test(said));
  return own.length > 0 && !own.includes(line) ? `${own.map(clean).join(" ")} ${line}` : line;
}

function clean(line: string): string {
  return line.replace(/^\w+: (error|fatal): /, "").replace(/^(Batch job submission failed|allocation failure): /i, "");
}
