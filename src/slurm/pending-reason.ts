export interface PendingReason {
  /** Slurm's own name for it. */
  name: string;
  /** The same in plain words. */
  text: string;
  /** The job can never start as it is, so that waiting is no use. */
  isHopeless: boolean;
}

const WAITING: Readonly<Record<string, string>> = {
  None: "waiting to be looked at by the scheduler",
  Resources: "waiting for nodes, CPUs, memory or GPUs to become free",
  Priority: "waiting behind jobs with a higher priority",
  Dependency: "waiting for another job to end",
  BeginTime: "waiting for its begin time; a requeued job waits about two minutes",
  JobArrayTaskLimit: "waiting for other tasks of its array, of which only so many run at once",
  JobHeldUser: "held by its user; scontrol release lets it go on",
  JobHeldAdmin: "held by an administrator; ask the site why",
  JobHoldMaxRequeue: "held because it was requeued too often",
  Licenses: "waiting for a licence",
  ReqNodeNotAvail: "the nodes it needs are down, drained or reserved",
  NodeDown: "a node it needs is down",
  Reservation: "waiting for its reservation to begin",
  PartitionDown: "its partition is down",
  PartitionInactive: "its partition starts no jobs now",
  AssocGrpGRES: "your account's GPUs are all in use",
  QOSMaxJobsPerUserLimit: "as many of your jobs run as the QoS allows",
  QOSMaxGRESPerUser: "you use as many GPUs as the QoS allows",
  QOSMaxCpuPerUserLimit: "you use as many CPUs as the QoS allows",
  MaxJobsPerAccount: "as many jobs of the account run as are allowed",
  Cleaning: "an earlier run of it is being cleaned up",
  Prolog: "its node is being prepared",
  FrontEndDown: "a front-end node is down",
  Nodes_required_for_job_are_DOWN: "nodes that it needs are down",
};

const HOPELESS: Readonly<Record<string, string>> = {
  PartitionTimeLimit: "its time limit is over the partition's",
  PartitionNodeLimit: "it asks for more nodes than the partition gives",
  BadConstraints: "no node can ever be what it asks for",
  InvalidAccount: "its account is not valid",
  InvalidQOS: "its QoS is not valid",
  AccountNotAllowed: "its account may not use the partition",
  QOSNotAllowed: "its QoS may not be used in the partition",
  DependencyNeverSatisfied: "a job that it depends on ended another way than it needed",
  JobHoldMaxRequeue: "it was requeued too often and is held",
  AssocMaxWallDurationPerJobLimit: "its time limit is over your account's",
  QOSMaxWallDurationPerJobLimit: "its time limit is over the QoS's",
  DeadLine: "it cannot end before its deadline",
  BurstBufferStageIn: "its burst buffer could not be filled",
};

/** Slurm's reason why a job waits, in plain words. */
export function pendingReason(text: string): PendingReason {
  // "ReqNodeNotAvail, UnavailableNodes:n[1-2]" and "(Nodes required for job are DOWN, …)" carry more behind the name.
  const trimmed = text.trim().replace(/^\((.*)\)$/, "$1");
  const [first = "", ...rest] = trimmed.split(",");
  const name = first.trim().replaceAll(" ", "_");
  const more = rest
    .join(",")
    .trim()
    .replace(/^UnavailableNodes:/, "unavailable: ");
  const hopeless = HOPELESS[name];
  if (hopeless !== undefined) return { name, text: hopeless, isHopeless: true };
  const waiting = WAITING[name] ?? limitText(name) ?? `waiting: ${trimmed}`;
  return {
    name,
    text: more === "" || WAITING[name] === undefined ? waiting : `${waiting} (${more})`,
    isHopeless: false,
  };
}

/** Slurm has a hundred names for limits of associations and QoS; their parts say which. */
function limitText(name: string): string | undefined {
  const match = /^(Assoc|QOS|Max)(Grp|Max)?(\w*?)(Limit)?$/.exec(name);
  if (match === null) return undefined;
  const whose = match[1] === "QOS" ? "the QoS" : "your account";
  return `waiting for a limit of ${whose} (${name})`;
}
