import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { describeExit, parseExitCode } from "../../../src/slurm/exit-code.js";
import { parseGres } from "../../../src/slurm/gres.js";
import { parseState } from "../../../src/slurm/job-state.js";
import { pendingReason } from "../../../src/slurm/pending-reason.js";
import { parseTime } from "../../../src/slurm/records.js";
import { parseAccounting } from "../../../src/slurm/sacct.js";
import { parseSubmitted } from "../../../src/slurm/sbatch.js";
import { parseSiteConfig } from "../../../src/slurm/scontrol.js";
import { parseCluster, parseTimeLimit } from "../../../src/slurm/sinfo.js";
import { parseQueue } from "../../../src/slurm/squeue.js";

/** Outputs as commands wrote them; the first line of each file says which and where from. */
function recorded(name: string): string {
  const text = readFileSync(join(import.meta.dirname, "../../fixtures/slurm", name), "utf8");
  // Unit separators are stored as ␟, so that the files can be read and compared.
  return text.slice(text.indexOf("\n") + 1).replaceAll("␟", "\u001f");
}

test("parseQueue() reads tasks, reasons, exits and names of 22.05, whatever stands in a name", () => {
  const jobs = new Map(parseQueue(recorded("squeue-22.05.txt")).map((job) => [job.id, job]));
  expect([...jobs.keys()].sort()).toEqual([
    "11_0",
    "11_1",
    "11_2",
    "11_3",
    "11_4",
    "11_5",
    "12",
    "13",
    "14",
    "15",
    "16",
  ]);
  expect(jobs.get("11_0")).toMatchObject({ jobId: "11", state: { phase: "running" }, reason: null, nodes: "n1" });
  expect(jobs.get("11_2")).toMatchObject({
    comment: 'kitty "q" x',
    reason: { name: "JobArrayTaskLimit" },
    nodes: null,
  });
  expect(jobs.get("12")).toMatchObject({ state: { end: "failed" }, exit: { exitCode: 3, signal: 0 } });
  expect(jobs.get("15")).toMatchObject({ state: { end: "failed" }, exit: { exitCode: 0, signal: 9 }, comment: null });
  expect(jobs.get("14")?.reason).toMatchObject({ name: "PartitionTimeLimit", isHopeless: true });
  expect(jobs.get("13")?.submitted).toEqual(new Date(2026, 10, 26, 23, 59, 56));
});

test("parseQueue() goes on behind what a site prints first, and is not led astray by newlines in names", () => {
  const [job, other] = parseQueue(recorded("squeue-noisy.txt"));
  expect(job).toMatchObject({ id: "7", state: { phase: "pending" }, name: "two\nlines 8" });
  expect(other).toMatchObject({ id: "9_4", state: { phase: "ended", end: "node_failure" } });
  expect(parseQueue("")).toEqual([]);
  expect(parseQueue("slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n")).toEqual([]);
});

test("parseAccounting() takes the latest run of a requeued job and no steps", () => {
  const jobs = new Map(parseAccounting(recorded("sacct-22.05.txt")).map((job) => [job.id, job]));
  expect([...jobs.keys()]).toEqual(["21", "22_0", "22_1", "23", "24"]);
  expect(jobs.get("21")).toMatchObject({ state: { end: "completed" }, nodes: "n2" });
  expect(jobs.get("22_1")).toMatchObject({ jobId: "22", state: { end: "cancelled" } });
  expect(jobs.get("23")).toMatchObject({ state: { end: "out_of_memory" }, exit: { exitCode: 0, signal: 125 } });
  expect(jobs.get("24")).toMatchObject({ state: { phase: "running" } });
});

test("parseCluster() counts nodes once however many partitions they are in, and GPUs by type", () => {
  const { partitions, nodes } = parseCluster(recorded("sinfo-22.05.txt"));
  expect(partitions).toMatchObject([
    { name: "debug", isDefault: true, isUp: true, timeLimitMinutes: null, nodes: ["n1", "n2"] },
    { name: "gpu long", isDefault: false, isUp: false, timeLimitMinutes: 3 * 1440, nodes: ["n2"] },
  ]);
  expect(nodes).toHaveLength(2);
  expect(nodes[0]).toMatchObject({ cpus: { allocated: 2, idle: 2, other: 0, total: 4 }, gpus: { used: 0, total: 1 } });
  expect(nodes[1]).toMatchObject({
    gpus: { used: 3, total: 6, types: ["a100", "v100"] },
    reason: "Not responding",
    state: "down*",
  });
});

test("parseSiteConfig() reads 22.05 and takes Slurm's defaults for what is not there", () => {
  expect(parseSiteConfig(recorded("config-22.05.txt"))).toEqual({
    ...{ cluster: "testbed", version: "22.05.8", hasAccounting: false, minJobAgeS: 300, maxArraySize: 1001 },
    preemptMode: "REQUEUE",
  });
  // From 23.11 on there is no type where there is no accounting.
  expect(parseSiteConfig("AccountingStorageType = (null)\n")).toMatchObject({
    hasAccounting: false,
    maxArraySize: 1001,
  });
  expect(parseSiteConfig("AccountingStorageType = accounting_storage/slurmdbd\n")).toMatchObject({
    hasAccounting: true,
  });
});

test.each([
  ["123\n", "123", null],
  ["123;alpha\n", "123", "alpha"],
  ["Welcome to the cluster\n# 3 notices\n456;beta-2\n", "456", "beta-2"],
  ["789\nsbatch: your quota is at 42\n", "789", null],
  ["Submitted batch job 31\n", "31", null],
  ["Submitted batch job 31 on cluster gamma\n", "31", "gamma"],
])("parseSubmitted() finds the number in %j", (stdout, jobId, cluster) => {
  expect(parseSubmitted(stdout)).toEqual({ jobId, cluster });
});

test.each(["", "\n", "error: no\n", "job 12 was not submitted\n", "12a\n", "-5\n"])(
  "parseSubmitted() finds none in %j",
  (stdout) => {
    expect(parseSubmitted(stdout)).toBeUndefined();
  },
);

describe("parseState()", () => {
  test.each([
    ["PENDING", "pending", undefined],
    ["PD", "pending", undefined],
    ["REQUEUED", "pending", undefined],
    ["REQUEUE_HOLD", "pending", undefined],
    ["RUNNING", "running", undefined],
    ["CONFIGURING", "running", undefined],
    ["COMPLETING", "running", undefined],
    ["CG", "running", undefined],
    ["SUSPENDED", "running", undefined],
    ["COMPLETED", "ended", "completed"],
    ["COMPLETED+", "ended", "completed"],
    ["CANCELLED by 1000", "ended", "cancelled"],
    ["CANCELLED+", "ended", "cancelled"],
    ["CANCELLE+", "ended", "cancelled"],
    ["TIMEOUT", "ended", "time_limit"],
    ["TO", "ended", "time_limit"],
    ["OUT_OF_ME+", "ended", "out_of_memory"],
    ["OUT_OF_MEMORY", "ended", "out_of_memory"],
    ["NODE_FAIL", "ended", "node_failure"],
    ["BOOT_FAIL", "ended", "node_failure"],
    ["PREEMPTED", "ended", "preempted"],
    ["DEADLINE", "ended", "deadline"],
    // Flags beside a state, as 23.02 and later tell them.
    ["COMPLETING,FAILED", "ended", "failed"],
    ["PENDING,REQUEUED", "pending", undefined],
    ["RUNNING,POWERING_UP_NODE", "running", undefined],
    ["PREEMPTED,REQUEUED", "pending", undefined],
    // A state that is not known yet never ends a job.
    ["EXPEDITING", "running", undefined],
  ])("reads %s", (text, phase, end) => {
    expect(parseState(text)).toMatchObject(end === undefined ? { phase } : { phase, end });
  });
});

test.each([
  ["3:0", 3, 0],
  ["0:9", 0, 9],
  ["768", 3, 0],
  ["9", 0, 9],
  ["139", 0, 11],
  ["0", 0, 0],
])("parseExitCode() reads %s as exit %i, signal %i", (text, exitCode, signal) => {
  expect(parseExitCode(text)).toEqual({ exitCode, signal });
});

test("exits are told in words where they mean something", () => {
  expect(describeExit({ exitCode: 0, signal: 53 })).toMatch(/could not write the output file/);
  expect(describeExit({ exitCode: 0, signal: 125 })).toMatch(/more memory than it had asked for/);
  expect(describeExit({ exitCode: 7, signal: 0 })).toBe("exit code 7");
  expect(parseExitCode("N/A")).toBeUndefined();
});

test.each([
  ["Resources", /waiting for nodes, CPUs, memory or GPUs/, false],
  ["(Priority)", /higher priority/, false],
  ["ReqNodeNotAvail, UnavailableNodes:n[1-2]", /down, drained or reserved \(unavailable: n\[1-2\]\)/, false],
  ["Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions", /are down/, false],
  ["QOSMaxGRESPerUser", /as many GPUs as the QoS allows/, false],
  ["AssocGrpCPUMinutesLimit", /a limit of your account \(AssocGrpCPUMinutesLimit\)/, false],
  ["QOSGrpNodeLimit", /a limit of the QoS \(QOSGrpNodeLimit\)/, false],
  ["PartitionTimeLimit", /time limit is over the partition's/, true],
  ["BadConstraints", /no node can ever be/, true],
  ["DependencyNeverSatisfied", /ended another way/, true],
  ["SomethingNewIn26", /waiting: SomethingNewIn26/, false],
])("pendingReason() says %j in plain words", (reason, text, isHopeless) => {
  expect(pendingReason(reason)).toMatchObject({ text: expect.stringMatching(text) as string, isHopeless });
});

test.each([
  ["gpu:2", 2, []],
  ["gpu:toy:1", 1, ["toy"]],
  ["gpu:a100:4(S:0-1)", 4, ["a100"]],
  ["gpu:toy:0(IDX:N/A)", 0, ["toy"]],
  ["gpu:a100:2(IDX:0,3),gpu:v100:1(IDX:4)", 3, ["a100", "v100"]],
  ["gpu:h100:8,shard:32,nvme:1", 8, ["h100"]],
  ["(null)", 0, []],
])("parseGres() counts the GPUs of %j", (text, gpus, types) => {
  expect(parseGres(text)).toEqual({ gpus, types });
});

test.each([
  ["infinite", null],
  ["30", 30],
  ["1:00", 1],
  ["1:30:00", 90],
  ["2-00", 2880],
  ["1-12:30", 2190],
  ["7-00:00:00", 10_080],
  ["n/a", null],
])("parseTimeLimit() reads %s", (text, minutes) => {
  expect(parseTimeLimit(text)).toBe(minutes);
});

test("parseTime() takes no word for a time", () => {
  for (const text of ["N/A", "Unknown", "None", "", "now", "12:30"]) expect(parseTime(text)).toBeUndefined();
});
