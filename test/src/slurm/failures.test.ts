import { expect, test } from "vitest";
import { classifyFailure } from "../../../src/slurm/classify-failure.js";

// What sbatch and others wrote, in versions 20.11 to 25.05 and with the submit filters of several sites.
test.each([
  [
    "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
    "ambiguous",
    /whether it was done/,
  ],
  [
    "sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received",
    "ambiguous",
    /whether it was done/,
  ],
  ["sbatch: error: Batch job submission failed: Connection reset by peer", "ambiguous", /whether it was done/],
  ["sbatch: error: Batch job submission failed: Transport endpoint is not connected", "ambiguous", /whether/],
  [
    "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
    "unreachable",
    /scontrol ping/,
  ],
  ["slurm_load_jobs error: Unable to contact slurm controller (connect failure)", "unreachable", /scontrol ping/],
  ["squeue: error: slurm_receive_msg [10.0.0.1:6817]: Unspecified error", "unreachable", /scontrol ping/],
  [
    "sacct: error: slurm_persist_conn_open_without_init: failed to open persistent connection to host:db:6819: Connection refused",
    "unreachable",
    /accounting daemon/,
  ],
  ["sacct: error: Problem talking to the database: Connection refused", "unreachable", /accounting daemon/],
  ["Slurm accounting storage is disabled", "accounting_off", /keeps no accounting/],
  ["SLURM accounting storage is disabled", "accounting_off", /keeps no accounting/],
  ["allocation failure: Invalid partition name specified", "refused", /slurm.partition/],
  ["sbatch: error: Batch job submission failed: Invalid partition name specified", "refused", /slurm.partition/],
  [
    "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
    "refused",
    /slurm.account/,
  ],
  ["sbatch: error: Batch job submission failed: Invalid qos specification", "refused", /slurm.qos/],
  ["sbatch: error: Invalid generic resource (gres) specification", "refused", /slurm.gpuType/],
  [
    "sbatch: error: Batch job submission failed: Invalid generic resource (gres) specification",
    "refused",
    /slurm.gpuType/,
  ],
  ["sbatch: error: Invalid Trackable RESource (TRES) specification", "refused", /./],
  ["allocation failure: Invalid feature specification", "refused", /slurm.constraint/],
  [
    "sbatch: error: Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)",
    "refused",
    /timeLimitMinutes/,
  ],
  [
    "sbatch: error: Batch job submission failed: Requested node configuration is not available",
    "refused",
    /no node has as much/,
  ],
  ["sbatch: error: Batch job submission failed: Node count specification invalid", "refused", /no node/],
  ["sbatch: error: Memory specification can not be satisfied", "refused", /slurm.suppress/],
  ["sbatch: error: Requesting memory by node is not supported. Use --mem-per-cpu.", "refused", /suppress: \["mem"\]/],
  [
    "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
    "busy",
    /a limit of your account/,
  ],
  ["sbatch: error: QOSMaxSubmitJobPerUserLimit", "busy", /limit/],
  ["sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", "busy", /tried again/],
  ["sbatch: error: Batch job submission failed: Resource temporarily unavailable", "busy", /tried again/],
  ["sbatch: error: Batch job submission failed: Invalid job array specification", "refused", /maxArraySize/],
  ["sbatch: unrecognized option '--prefer=x'", "refused", /slurm.directives/],
  ["sbatch: error: Batch job submission failed: Access/permission denied", "refused", /does not let this user/],
  [
    "sbatch: error: Batch job submission failed: User's group not permitted to use this partition",
    "refused",
    /another/,
  ],
  [
    "sbatch: error: Batch job submission failed: I/O error writing script/environment to file",
    "failed",
    /administrators/,
  ],
  ['sbatch: error: Munge encode failed: Failed to access "/run/munge/munge.socket.2"', "failed", /is munged running/],
  ["sbatch: fatal: Could not establish a configuration source", "failed", /login node/],
  ["sbatch: error: resolve_ctls_from_dns_srv: res_nsearch error: Unknown host", "failed", /./],
  ["scancel: error: Kill job error on job id 5: Invalid job id specified", "no_such_job", /ended already/],
  ["slurm_load_jobs error: Invalid job id specified", "no_such_job", /ended already/],
  ["sbatch: error: something nobody has seen", "failed", /administrators/],
])("%s", (line, kind, remedy) => {
  expect(classifyFailure(["sbatch: a notice of the site", line])).toMatchObject({
    kind,
    remedy: expect.stringMatching(remedy) as string,
  });
});

test("a site's own words come with Slurm's general ones", () => {
  const lines = [
    "sbatch: error: You must set an account, see https://hpc.example/accounts",
    "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
  ];
  expect(classifyFailure(lines)).toMatchObject({
    kind: "refused",
    reason:
      "You must set an account, see https://hpc.example/accounts sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
  });
  expect(classifyFailure([])).toMatchObject({ kind: "failed", reason: "" });
});
